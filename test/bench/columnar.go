package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"spoor/test/harness"
)

const (
	logBucket    = "bench-logs"
	logDays      = 7
	logFileBytes = 5 << 20 // of JSON, as a trail closes its files
	logUsers     = 200
	copiesWait   = 10 * time.Minute
)

// logDDL is the table of AWS's documentation for a trail without partitions
// (Athena user guide, "Create a table for CloudTrail logs").
const logDDL = `CREATE EXTERNAL TABLE cloudtrail_logs (eventversion STRING,
 useridentity STRUCT<type:STRING, principalid:STRING, arn:STRING, accountid:STRING, invokedby:STRING, accesskeyid:STRING, username:STRING,
  onbehalfof:STRUCT<userid:STRING, identitystorearn:STRING>,
  sessioncontext:STRUCT<attributes:STRUCT<mfaauthenticated:STRING, creationdate:STRING>, sessionissuer:STRUCT<type:STRING, principalid:STRING, arn:STRING, accountid:STRING, username:STRING>,
   ec2roledelivery:STRING, webidfederationdata:STRUCT<federatedprovider:STRING, attributes:MAP<STRING,STRING>>>>,
 eventtime STRING, eventsource STRING, eventname STRING, awsregion STRING, sourceipaddress STRING, useragent STRING, errorcode STRING, errormessage STRING,
 requestparameters STRING, responseelements STRING, additionaleventdata STRING, requestid STRING, eventid STRING,
 resources ARRAY<STRUCT<arn:STRING, accountid:STRING, type:STRING>>, eventtype STRING, apiversion STRING, readonly STRING, recipientaccountid STRING,
 serviceeventdetails STRING, sharedeventid STRING, vpcendpointid STRING, vpcendpointaccountid STRING, eventcategory STRING,
 addendum STRUCT<reason:STRING, updatedfields:STRING, originalrequestid:STRING, originaleventid:STRING>, sessioncredentialfromconsole STRING, edgedevicedetails STRING,
 tlsdetails STRUCT<tlsversion:STRING, ciphersuite:STRING, clientprovidedhostheader:STRING>)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS INPUTFORMAT 'com.amazon.emr.cloudtrail.CloudTrailInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 's3://` + logBucket + `/AWSLogs/'`

// questions are what people ask a trail.
var questions = []struct{ name, sql string }{
	{"who used root", `SELECT eventtime, eventname, sourceipaddress, useragent FROM cloudtrail_logs WHERE useridentity.type = 'Root' ORDER BY eventtime, eventid`},
	{"failed calls by error code", `SELECT errorcode, count(*) AS n, count(DISTINCT useridentity.arn) AS callers FROM cloudtrail_logs WHERE errorcode IS NOT NULL GROUP BY errorcode ORDER BY n DESC, 1`},
	{"calls by user in an hour", `SELECT useridentity.arn, eventname, count(*) AS n FROM cloudtrail_logs WHERE eventtime BETWEEN '2026-11-04T10:00:00Z' AND '2026-11-04T10:59:59Z' GROUP BY 1, 2 ORDER BY n DESC, 1, 2`},
	{"most used APIs per day", `SELECT substr(eventtime, 1, 10) AS day, eventsource, eventname, count(*) AS n FROM cloudtrail_logs GROUP BY 1, 2, 3 ORDER BY 1, n DESC, 2, 3`},
	{"access to one bucket", `SELECT eventtime, useridentity.arn, eventname, json_extract_scalar(requestparameters, '$.key') AS object FROM cloudtrail_logs WHERE eventsource = 's3.amazonaws.com' AND json_extract_scalar(requestparameters, '$.bucketName') = 'ledger' ORDER BY eventtime, eventid`},
}

// benchColumnar asks the questions over a trail's JSON files and over their
// columnar copies: the same server, once without and once with them.
func benchColumnar(ctx context.Context, records int) error {
	dir, err := os.MkdirTemp("", "spoor-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var debug []string
	if *profiles != "" {
		debug = []string{"--debug", "127.0.0.1:0"}
	}
	plain := harness.New(*binaryPath, dir, append(debug, "--columnar", "off")...)
	if err := plain.Start(ctx); err != nil {
		return err
	}
	defer plain.Stop()
	files, raw, packed, err := writeLogs(ctx, plain, records)
	if err != nil {
		return err
	}
	if _, err := ask(ctx, plain, logDDL); err != nil {
		return err
	}
	slow, err := askAll(ctx, plain, "json", *repeats)
	if err != nil {
		return err
	}
	if err := plain.Stop(); err != nil {
		return err
	}
	copied := harness.New(*binaryPath, dir, debug...)
	if err := copied.Start(ctx); err != nil {
		return err
	}
	defer copied.Stop()
	first, err := ask(ctx, copied, questions[0].sql)
	if err != nil {
		return err
	}
	began := time.Now()
	size, err := awaitCopies(ctx, filepath.Join(dir, "columnar"))
	if err != nil {
		return err
	}
	took := time.Since(began)
	fast, err := askAll(ctx, copied, "copies", 3**repeats)
	if err != nil {
		return err
	}
	fmt.Printf("%d records in %d log files: %d bytes a record as JSON, %d in the log files (gzip), %d in the columnar copies.\n\n", records, files, raw/int64(records), packed/int64(records), size/int64(records))
	fmt.Print("| Question | JSON files | Columnar copies | Ratio | of processor time |\n|---|---|---|---|---|\n")
	for i, q := range questions {
		if slow[i].rows != fast[i].rows || slow[i].scanned != fast[i].scanned {
			return fmt.Errorf("%s: the answers differ", q.name)
		}
		fmt.Printf("| %s (%d rows) | %s | %s | %.0fx | %s, %s: %.0fx |\n", q.name, strings.Count(slow[i].rows, "\n")-1, slow[i].took, fast[i].took, float64(slow[i].took)/float64(fast[i].took),
			slow[i].cpu.Round(time.Millisecond), fast[i].cpu.Round(time.Millisecond), float64(slow[i].cpu)/float64(fast[i].cpu))
	}
	fmt.Printf("\nMedians of the engine's time that GetQueryExecution gives. The first query after the start, which made the copies asked for, took %s; making them %s.\n",
		first.took, took.Round(time.Millisecond))
	return nil
}

// awaitCopies waits until no pack is being written any more, and gives their
// size.
func awaitCopies(ctx context.Context, dir string) (size int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, copiesWait)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for quiet := 0; quiet < 4; {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for columnar copies: %w", ctx.Err())
		case <-tick.C:
		}
		size, quiet = 0, quiet+1
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if filepath.Ext(path) != ".parquet" {
				quiet = 0
			}
			info, err := d.Info()
			if err == nil {
				size += info.Size()
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		if size == 0 {
			quiet = 0
		}
	}
	return size, nil
}

// asked is a question's answer.
type asked struct {
	rows      string
	scanned   int64
	took, cpu time.Duration
}

// processorTime is what the server and its object gateway, a process of its own,
// have used of the processors.
func processorTime(pid int) (time.Duration, error) {
	sum, err := processTime(pid)
	if err != nil {
		return 0, err
	}
	gateways, err := children(pid)
	for _, g := range gateways {
		t, terr := processTime(g)
		sum, err = sum+t, errors.Join(err, terr)
	}
	return sum, err
}

// askAll asks each question so many times; took is the median, cpu the mean of
// the server's processor time. name is that of the profiles.
func askAll(ctx context.Context, srv *harness.Server, name string, times int) ([]asked, error) {
	out := make([]asked, len(questions))
	for i, q := range questions {
		var took []time.Duration
		profiled := (&side{srv: srv}).profile(name + "-" + strings.ReplaceAll(q.name, " ", "-"))
		before, err := processorTime(srv.PID())
		for range times {
			a, aerr := ask(ctx, srv, q.sql)
			if err = errors.Join(err, aerr); err != nil {
				return nil, fmt.Errorf("%s: %w", q.name, err)
			}
			out[i], took = a, append(took, a.took)
		}
		after, err := processorTime(srv.PID())
		if err = errors.Join(err, profiled()); err != nil {
			return nil, err
		}
		slices.Sort(took)
		out[i].took, out[i].cpu = took[len(took)/2], (after-before)/time.Duration(times)
	}
	return out, nil
}

func ask(ctx context.Context, srv *harness.Server, sql string) (asked, error) {
	c := srv.AWS(srv.Profiles["admin"])
	start, err := c.Athena.StartQueryExecution(ctx, &athena.StartQueryExecutionInput{QueryString: &sql,
		QueryExecutionContext: &types.QueryExecutionContext{Database: aws.String("default")},
		ResultConfiguration:   &types.ResultConfiguration{OutputLocation: aws.String("s3://" + logBucket + "/results/")}})
	if err != nil {
		return asked{}, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := c.Athena.GetQueryExecution(ctx, &athena.GetQueryExecutionInput{QueryExecutionId: start.QueryExecutionId})
		if err != nil {
			return asked{}, err
		}
		switch q := got.QueryExecution; q.Status.State {
		case types.QueryExecutionStateSucceeded:
			a := asked{scanned: aws.ToInt64(q.Statistics.DataScannedInBytes), took: time.Duration(aws.ToInt64(q.Statistics.EngineExecutionTimeInMillis)) * time.Millisecond}
			a.rows, err = result(ctx, c, *q.ResultConfiguration.OutputLocation)
			return a, err
		case types.QueryExecutionStateFailed, types.QueryExecutionStateCancelled:
			return asked{}, fmt.Errorf("the query ended as %s: %s", q.Status.State, aws.ToString(q.Status.StateChangeReason))
		}
		<-tick.C
	}
}

func result(ctx context.Context, c harness.Clients, url string) (string, error) {
	out, err := c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(logBucket), Key: aws.String(strings.TrimPrefix(url, "s3://"+logBucket+"/"))})
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(out.Body)
	return string(body), errors.Join(err, out.Body.Close())
}

// writeLogs puts the log files of a week into a bucket, as a trail delivers
// them.
func writeLogs(ctx context.Context, srv *harness.Server, records int) (files int, raw, packed int64, err error) {
	c := srv.AWS(srv.Profiles["admin"])
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(logBucket)}); err != nil {
		return 0, 0, 0, err
	}
	g := &logWriter{r: rand.New(rand.NewPCG(7, 7)), account: srv.Account}
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	step := logDays * 24 * time.Hour / time.Duration(records)
	var doc bytes.Buffer
	flush := func(at time.Time) error {
		if doc.Len() == 0 {
			return nil
		}
		doc.WriteString("]}")
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		if _, err := w.Write(doc.Bytes()); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		files, raw, packed = files+1, raw+int64(doc.Len()), packed+int64(z.Len())
		doc.Reset()
		key := fmt.Sprintf("AWSLogs/%[1]s/CloudTrail/us-east-1/%[2]s/%[1]s_CloudTrail_us-east-1_%[3]s_%016[4]x.json.gz", srv.Account, at.Format("2006/01/02"), at.Format("20060102T1504Z"), g.r.Uint64())
		_, err := c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(logBucket), Key: &key, Body: bytes.NewReader(z.Bytes())})
		return err
	}
	for i := range records {
		at := from.Add(time.Duration(i) * step)
		if doc.Len() == 0 {
			doc.WriteString(`{"Records":[`)
		} else {
			doc.WriteByte(',')
		}
		doc.WriteString(g.record(at))
		next := at.Add(step)
		if doc.Len() >= logFileBytes || next.Day() != at.Day() || i == records-1 {
			if err := flush(at); err != nil {
				return 0, 0, 0, err
			}
		}
	}
	return files, raw, packed, nil
}

// logWriter makes records of 300 bytes to 2 KB.
type logWriter struct {
	r       *rand.Rand
	account string
}

func (g *logWriter) pick(of ...string) string { return of[g.r.IntN(len(of))] }

func (g *logWriter) id() string {
	a, b := g.r.Uint64(), g.r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", a>>32, a&0xffff, b>>52, b&0xfff, b>>4&0xffffffffffff)
}

// identity is a user, most often; some are roles and services, very few root.
func (g *logWriter) identity() string {
	n := int(float64(logUsers) * g.r.Float64() * g.r.Float64())
	switch k := g.r.IntN(10_000); {
	case k < 5:
		return fmt.Sprintf(`{"type":"Root","principalId":"%[1]s","arn":"arn:aws:iam::%[1]s:root","accountId":"%[1]s"}`, g.account)
	case k < 500:
		return fmt.Sprintf(`{"type":"AWSService","invokedBy":%q}`, g.pick("ec2.amazonaws.com", "lambda.amazonaws.com", "athena.amazonaws.com"))
	case k < 4000:
		return fmt.Sprintf(`{"type":"AssumedRole","principalId":"AROAEXAMPLE%03[2]d:session","arn":"arn:aws:sts::%[1]s:assumed-role/role%03[2]d/session","accountId":"%[1]s","accessKeyId":"ASIAEXAMPLE%09[2]d",`+
			`"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE%03[2]d","arn":"arn:aws:iam::%[1]s:role/role%03[2]d","accountId":"%[1]s","userName":"role%03[2]d"},`+
			`"attributes":{"creationDate":"2026-11-01T00:00:00Z","mfaAuthenticated":"false"}}}`, g.account, n)
	default:
		return fmt.Sprintf(`{"type":"IAMUser","principalId":"AIDAEXAMPLE%06[2]d","arn":"arn:aws:iam::%[1]s:user/user%03[2]d","accountId":"%[1]s","accessKeyId":"AKIAEXAMPLE%09[2]d","userName":"user%03[2]d"}`, g.account, n)
	}
}

func (g *logWriter) record(at time.Time) string {
	source, request, more := "s3.amazonaws.com", "", ""
	name := g.pick("GetObject", "GetObject", "GetObject", "PutObject", "ListObjects", "DeleteObject")
	switch g.r.IntN(4) {
	case 0:
		source, name = "dynamodb.amazonaws.com", g.pick("Query", "GetItem", "PutItem", "UpdateItem")
		request = fmt.Sprintf(`{"tableName":"orders%d","key":{"pk":"customer-%d"}}`, g.r.IntN(30), g.r.IntN(100_000))
	case 1:
		source, name = g.pick("ec2.amazonaws.com", "iam.amazonaws.com", "sts.amazonaws.com", "athena.amazonaws.com"), g.pick("DescribeInstances", "ListUsers", "AssumeRole", "GetQueryExecution", "StartQueryExecution")
		request = fmt.Sprintf(`{"filterSet":{"items":[{"name":"tag:team","valueSet":{"items":[{"value":"team%d"}]}}]},"maxResults":%d}`, g.r.IntN(40), g.r.IntN(1000))
		if g.r.IntN(3) == 0 {
			more = fmt.Sprintf(`,"responseElements":{"requestId":%q,"items":[%s]}`, g.id(), strings.TrimSuffix(strings.Repeat(`{"id":"i-0123456789abcdef0","state":{"code":16,"name":"running"}},`, 1+g.r.IntN(12)), ","))
		}
	default:
		bucket := fmt.Sprintf("bucket%d", g.r.IntN(60))
		if g.r.IntN(800) == 0 {
			bucket = "ledger"
		}
		request = fmt.Sprintf(`{"bucketName":%q,"Host":"%[1]s.s3.us-east-1.amazonaws.com","key":"data/%[2]s/part-%05[3]d.parquet"}`, bucket, at.Format("2006/01/02"), g.r.IntN(100_000))
		more = fmt.Sprintf(`,"additionalEventData":{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","bytesTransferredOut":%d},"resources":[{"type":"AWS::S3::Object","ARN":"arn:aws:s3:::%[2]s/data"},{"accountId":%[3]q,"type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::%[2]s"}]`, g.r.IntN(1_000_000), bucket, g.account)
	}
	if g.r.IntN(25) == 0 {
		more += fmt.Sprintf(`,"errorCode":%q,"errorMessage":"The call was refused"`, g.pick("AccessDenied", "AccessDenied", "NoSuchKey", "ThrottlingException", "ValidationException", "Client.UnauthorizedOperation"))
	}
	if g.r.IntN(2) == 0 {
		more += fmt.Sprintf(`,"tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":%q}`, source)
	}
	return fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":%s,"eventTime":%q,"eventSource":%q,"eventName":%q,"awsRegion":"us-east-1","sourceIPAddress":"198.51.%d.%d","userAgent":%q,"requestParameters":%s,"requestID":%q,"eventID":%q,"readOnly":%t,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":%q,"eventCategory":"Management"%s}`,
		g.identity(), at.Format(time.RFC3339), source, name, g.r.IntN(100), g.r.IntN(256), g.pick("aws-cli/2.15.0 Python/3.11.6 Linux/5.10 exe/x86_64", "Boto3/1.34.0 md/Botocore#1.34.0 ua/2.0 os/linux lang/python#3.12", "aws-sdk-go-v2/1.30.0 os/linux lang/go#1.22 api/s3#1.48.0", "console.amazonaws.com"),
		request, g.id(), g.id(), !strings.HasPrefix(name, "Put"), g.account, more)
}
