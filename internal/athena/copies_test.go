package athena

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/call"
	"spoor/internal/columnar"
	"spoor/internal/glue"
)

// copies gives the bench columnar copies, made in the background.
func (b *bench) copies() *columnar.Cache {
	b.t.Helper()
	c, err := columnar.Open(columnar.Config{Store: b.kv, Journal: b.journal, Engine: b.svc.cfg.Engine, Objects: b.objects, Dir: filepath.Join(b.t.TempDir(), "columnar"),
		Limit: 1 << 30, Now: b.time, Log: quiet})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	b.svc.cfg.Copies = c
	return c
}

// packs are the files of copies.
func (b *bench) packs(dir string) []string {
	b.t.Helper()
	var out []string
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, p)
		}
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// trailFile is a log file of random records with everything that the SerDe has
// to get right.
func trailFile(r *rand.Rand, region string, day, file, records int) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var recs []string
	for i := range records {
		user := pick(`{"type":"Root","arn":"arn:aws:iam::1:root","accountId":"1"}`, `{"type":"IAMUser","userName":"eve","arn":"arn:aws:iam::1:user/eve","accessKeyId":"AKIAEVE"}`,
			`{"type":"IAMUser","userName":"žofie \u00e9 \"q\"","arn":"arn:aws:iam::1:user/\u017eofie"}`,
			`{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/r/s","sessionContext":{"attributes":{"mfaAuthenticated":"false","creationDate":"2024-01-01T00:00:00Z"},"sessionIssuer":{"type":"Role","userName":"r","arn":"arn:aws:iam::1:role/r"}}}`,
			`{"type":"AWSService","invokedBy":"ec2.amazonaws.com","sessionContext":null}`, `null`)
		request := pick(`{"bucketName":"b1","key":"k/`+fmt.Sprint(i)+`"}`, `{"bucketName":"b2", "Host" : [ "a", "b" ], "n": 12345678901234567890}`, `null`, `{}`, `"text"`, `[1,2.50,null,{"x":"\ud83d\ude00"}]`, `{"tableName":"t1","key":{"id":{"S":"1"}}}`)
		rec := fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":%s,"eventTime":"2024-01-%02dT%02d:%02d:%02dZ","eventSource":%q,"eventName":%q,"awsRegion":%q,"sourceIPAddress":"192.0.2.%d","requestParameters":%s,"eventID":"%s-%d-%d-%d","readOnly":%s`,
			user, day, r.IntN(24), r.IntN(60), r.IntN(60), pick("s3.amazonaws.com", "ec2.amazonaws.com", "dynamodb.amazonaws.com", "signin.amazonaws.com"), pick("GetObject", "PutObject", "RunInstances", "ConsoleLogin", "Query"),
			region, r.IntN(9), request, region, day, file, i, pick("true", "false"))
		if r.IntN(4) == 0 {
			rec += `,"errorCode":"` + pick("AccessDenied", "ThrottlingException") + `","errorMessage":"not\nallowed, \"really\""`
		}
		if r.IntN(3) == 0 {
			rec += `,"resources":` + pick(`[{"ARN":"arn:aws:s3:::b1","accountId":"1","type":"AWS::S3::Bucket"},{"type":"AWS::S3::Object","ARN":"arn:aws:s3:::b1/k"}]`, `[]`, `null`, `[{"ARN":"arn:aws:dynamodb:us-east-1:1:table/t1"}]`)
		}
		if r.IntN(3) == 0 {
			rec += `,"tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"c"},"responseElements":{"a":{"b":[1,{"c":null}]}},"additionalEventData":{"bytesTransferredOut":` + fmt.Sprint(r.IntN(5000)) + `.0}`
		}
		if r.IntN(9) == 0 {
			rec += `,"userIdentity":{"type":"WebIdentityUser","sessionContext":{"webIdFederationData":{"federatedProvider":"p","attributes":{"k1":"v","a":"w"}}}}`
		}
		recs = append(recs, rec+"}")
	}
	return `{"Records": [` + strings.Join(recs, ",\n") + `]}`
}

// sameEitherWay are queries over a table with a partition column timestamp. Those
// without ORDER BY show the rows in the files' order.
var sameEitherWay = []string{
	`SELECT * FROM %[1]s`,
	`SELECT * FROM %[1]s ORDER BY eventid`,
	`SELECT eventid FROM %[1]s LIMIT 7`,
	`SELECT eventid, eventtime FROM %[1]s WHERE errorcode IS NOT NULL LIMIT 11`,
	`SELECT count(*) FROM %[1]s`,
	`SELECT count(*), count(errorcode), count(useridentity), count(resources), count(requestparameters) FROM %[1]s`,
	`SELECT "$path", count(*) FROM %[1]s GROUP BY 1 ORDER BY 1`,
	`SELECT "$path", eventid FROM %[1]s WHERE eventname = 'Query'`,
	`SELECT DISTINCT "timestamp" FROM %[1]s ORDER BY 1`,
	`SELECT "timestamp", count(*) FROM %[1]s GROUP BY 1 ORDER BY 1`,
	`SELECT eventid FROM %[1]s WHERE "timestamp" = '2024/01/02' ORDER BY 1`,
	`SELECT eventid FROM %[1]s WHERE "timestamp" = '2024/01/02'`,
	`SELECT eventid, "timestamp" FROM %[1]s WHERE "timestamp" >= '2024/01/02'`,
	`SELECT count(*) FROM %[1]s WHERE "timestamp" < '2024/01/02' OR eventname = 'GetObject'`,
	`SELECT count(*) FROM %[1]s WHERE "timestamp" > '2025/01/01'`,
	`SELECT eventid FROM %[1]s WHERE useridentity.type = 'Root' ORDER BY eventid`,
	`SELECT useridentity FROM %[1]s ORDER BY eventid`,
	`SELECT useridentity.sessioncontext.sessionissuer.arn, count(*) FROM %[1]s GROUP BY 1 ORDER BY 1`,
	`SELECT useridentity.sessioncontext FROM %[1]s ORDER BY eventid`,
	`SELECT useridentity.sessioncontext.attributes.mfaauthenticated AS mfa, count(*) FROM %[1]s GROUP BY 1 ORDER BY 1`,
	`SELECT useridentity.sessioncontext.webidfederationdata.attributes['k1'] FROM %[1]s WHERE useridentity.type = 'WebIdentityUser' ORDER BY eventid`,
	`SELECT useridentity.username, useridentity.arn FROM %[1]s WHERE useridentity.username LIKE '%%é%%' ORDER BY eventid`,
	`SELECT useridentity.type, useridentity.invokedby, count(*) FROM %[1]s GROUP BY 1, 2 ORDER BY 1, 2`,
	`SELECT count(*) FROM %[1]s WHERE useridentity IS NULL`,
	`SELECT requestparameters FROM %[1]s ORDER BY eventid`,
	`SELECT json_extract_scalar(requestparameters, '$.bucketName') AS bucket, count(*) FROM %[1]s GROUP BY 1 ORDER BY 1`,
	`SELECT json_extract(requestparameters, '$.Host'), json_extract(requestparameters, '$.n') FROM %[1]s WHERE requestparameters LIKE '%%Host%%' ORDER BY eventid`,
	`SELECT eventid FROM %[1]s WHERE json_extract_scalar(requestparameters, '$.tableName') = 't1' ORDER BY 1`,
	`SELECT json_extract_scalar(responseelements, '$.a.b[0]'), additionaleventdata FROM %[1]s WHERE responseelements IS NOT NULL ORDER BY eventid`,
	`SELECT eventid FROM %[1]s WHERE eventsource = 's3.amazonaws.com' AND json_extract_scalar(requestparameters, '$.bucketName') = 'b1' ORDER BY 1`,
	`SELECT sum(CAST(json_extract_scalar(additionaleventdata, '$.bytesTransferredOut') AS double)) FROM %[1]s`,
	`SELECT errorcode, errormessage, count(*) FROM %[1]s GROUP BY 1, 2 ORDER BY 1, 2`,
	`SELECT errorcode, count(*) AS n FROM %[1]s WHERE errorcode IS NOT NULL GROUP BY errorcode HAVING count(*) > 1 ORDER BY n DESC, 1`,
	`SELECT resources FROM %[1]s ORDER BY eventid`,
	`SELECT cardinality(resources), count(*) FROM %[1]s GROUP BY 1 ORDER BY 1`,
	`SELECT eventid, r.arn, r.type FROM %[1]s CROSS JOIN UNNEST(resources) AS t (r) ORDER BY eventid, 2`,
	`SELECT r.arn, count(*) FROM %[1]s t CROSS JOIN UNNEST(t.resources) AS u (r) WHERE r.accountid = '1' GROUP BY 1 ORDER BY 1`,
	`SELECT tlsdetails.tlsversion, tlsdetails FROM %[1]s ORDER BY eventid`,
	`SELECT date_trunc('hour', from_iso8601_timestamp(eventtime)) AS h, count(*) FROM %[1]s GROUP BY 1 ORDER BY 1`,
	`SELECT eventname, substr(eventtime, 1, 10) AS day, count(*) AS n FROM %[1]s GROUP BY 1, 2 ORDER BY n DESC, 1, 2 LIMIT 10`,
	`SELECT eventid FROM %[1]s WHERE eventtime BETWEEN '2024-01-02T03:00:00Z' AND '2024-01-02T14:00:00Z' ORDER BY eventtime, eventid`,
	`SELECT min(eventtime), max(eventtime), min(eventid), max(sourceipaddress) FROM %[1]s`,
	`WITH failed AS (SELECT * FROM %[1]s WHERE errorcode IS NOT NULL), ok AS (SELECT * FROM %[1]s WHERE errorcode IS NULL) SELECT (SELECT count(*) FROM failed), (SELECT count(*) FROM ok)`,
	`SELECT a.eventid, b.eventid FROM %[1]s a JOIN %[1]s b ON a.eventtime = b.eventtime AND a.eventid < b.eventid ORDER BY 1, 2`,
	`SELECT a.awsregion, count(*) FROM %[1]s a LEFT JOIN (SELECT eventid FROM %[1]s WHERE readonly = 'true') b ON a.eventid = b.eventid WHERE b.eventid IS NULL GROUP BY 1 ORDER BY 1`,
	`SELECT eventname, n, rank() OVER (ORDER BY n DESC, eventname) FROM (SELECT eventname, count(*) AS n FROM %[1]s GROUP BY 1) ORDER BY 3`,
	`SELECT eventid FROM %[1]s WHERE eventname IN (SELECT eventname FROM %[1]s WHERE errorcode = 'AccessDenied') ORDER BY 1 DESC`,
	`SELECT eventid FROM %[1]s WHERE eventsource = 's3.amazonaws.com' UNION ALL SELECT eventname FROM %[1]s WHERE useridentity.type = 'Root' ORDER BY 1`,
	`SELECT array_agg(eventid ORDER BY eventid), awsregion FROM %[1]s WHERE readonly = 'true' GROUP BY awsregion ORDER BY awsregion`,
	`SELECT sharedeventid, vpcendpointid, eventcategory, apiversion FROM %[1]s ORDER BY eventid`,
	`SELECT CASE WHEN errorcode IS NULL THEN 'ok' ELSE errorcode END AS outcome, approx_distinct(eventid) FROM %[1]s GROUP BY 1 ORDER BY 1`,
	`SELECT substr(eventtime, 1, 13) AS hour, count(*) FROM %[1]s GROUP BY 1 ORDER BY 1`,
	`SELECT substr(eventtime, 1, 10), eventsource, eventname, count(*) AS n FROM %[1]s GROUP BY 1, 2, 3 ORDER BY 1, n DESC, 2, 3`,
	`SELECT substr(eventtime, 1, 10), "timestamp", max(eventtime) FROM %[1]s GROUP BY 1, 2 ORDER BY 1, 2`,
	`SELECT eventid, substr(eventtime, 1, 4), substr(eventtime, 1, 16) FROM %[1]s WHERE substr(eventtime, 1, 13) >= '2024-01-02T05'`,
	`SELECT eventid, eventtime FROM %[1]s WHERE substr(eventtime, 1, 10) = '2024-01-02' LIMIT 9`,
	`SELECT DISTINCT substr(eventtime, 1, 10) FROM %[1]s ORDER BY substr(eventtime, 1, 10) DESC`,
	`SELECT substr(eventtime, 1, 10) FROM %[1]s GROUP BY eventtime ORDER BY 1`,
	`SELECT eventname FROM %[1]s GROUP BY substr(eventtime, 1, 10)`,
	`SELECT substr(eventtime, 1, 13) FROM %[1]s GROUP BY substr(eventtime, 1, 10)`,
	`SELECT substr(a.eventtime, 1, 10), substr(b.eventtime, 1, 13), count(*) FROM %[1]s a LEFT JOIN %[1]s b ON a.eventid = b.eventid AND b.errorcode IS NULL GROUP BY 1, 2 ORDER BY 1, 2`,
	`SELECT a.eventid FROM %[1]s a WHERE EXISTS (SELECT 1 FROM %[1]s b WHERE substr(b.eventtime, 1, 13) = substr(a.eventtime, 1, 13) AND b.eventid <> a.eventid AND b.errorcode = 'AccessDenied') ORDER BY 1`,
	`WITH x AS (SELECT * FROM %[1]s) SELECT substr(eventtime, 1, 10), count(*) FROM x GROUP BY 1 ORDER BY 1`,
	`SELECT 1/0 FROM %[1]s`,
	`SELECT CAST(eventname AS integer) FROM %[1]s WHERE eventname = 'GetObject'`,
	`SELECT json_parse(errormessage) FROM %[1]s WHERE errorcode IS NOT NULL`,
	`SELECT nothing FROM %[1]s`,
}

var anyText = regexp.MustCompile(`"[^"]*" is no`)

// outcome is all that a query's caller sees of it.
func (b *bench) outcome(query string) string {
	b.t.Helper()
	q := b.run(query)
	// Which of several files fails first is open, with or without copies.
	reason := anyText.ReplaceAllString(str(q.Status.StateChangeReason), `"…" is no`)
	out := fmt.Sprintf("%s %s scanned %d\n", q.Status.State, reason, *q.Statistics.DataScannedInBytes)
	if q.Status.State == types.QueryExecutionStateSucceeded {
		out += b.object("out/" + *q.QueryExecutionId + ".csv")
	}
	return out
}

// TestCopiesGiveTheSameAnswers runs each query without copies, with none yet,
// with all, and after each way in which objects and copies change.
func TestCopiesGiveTheSameAnswers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := rand.New(rand.NewPCG(1, 2))
	put := func(region string, day, file, records int) string {
		key := fmt.Sprintf("AWSLogs/1/CloudTrail/%s/2024/01/%02d/1_CloudTrail_%s_%03d.json.gz", region, day, region, file)
		b.put(key, pack(t, trailFile(r, region, day, file, records)))
		return key
	}
	var keys []string
	for _, region := range []string{"eu-west-1", "us-east-1"} {
		for day := 1; day <= 3; day++ {
			for file := range 3 {
				keys = append(keys, put(region, day, 10*file, r.IntN(25)))
			}
		}
	}
	dir := "AWSLogs/1/CloudTrail/us-east-1/2024/01/02/"
	b.put(dir+"broken.json.gz", pack(t, trailFile(r, "us-east-1", 2, 98, 9))[:200])
	b.put(dir+"empty.json.gz", pack(t, `{"Records":[]}`))
	b.put(dir+"digest.json.gz", pack(t, `{"awsAccountId":"1","digestStartTime":"2024-01-02T00:00:00Z"}`))
	b.put(dir+"plain.json", trailFile(r, "us-east-1", 2, 99, 9))
	b.put(dir+"_hidden.json", trailFile(r, "us-east-1", 2, 97, 9))
	const format = " ROW FORMAT SERDE '%s' STORED AS INPUTFORMAT 'com.amazon.emr.cloudtrail.CloudTrailInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat' LOCATION 's3://b/AWSLogs/1/CloudTrail/' "
	projection := "TBLPROPERTIES ('projection.enabled'='true', 'projection.region.type'='enum', 'projection.region.values'='us-east-1,eu-west-1', 'projection.timestamp.type'='date', 'projection.timestamp.format'='yyyy/MM/dd', 'projection.timestamp.range'='2024/01/01,2024/01/09', 'projection.timestamp.interval'='1', 'projection.timestamp.interval.unit'='DAYS', 'storage.location.template'='s3://b/AWSLogs/1/CloudTrail/${region}/${timestamp}/')"
	b.must("CREATE EXTERNAL TABLE projected (" + trailColumns + ") PARTITIONED BY (region string, `timestamp` string)" + fmt.Sprintf(format, "com.amazon.emr.hive.serde.CloudTrailSerde") + projection)
	b.must("CREATE EXTERNAL TABLE added (" + trailColumns + ") PARTITIONED BY (`timestamp` string)" + fmt.Sprintf(format, "org.apache.hive.hcatalog.data.JsonSerDe"))
	for day := 1; day <= 3; day++ {
		b.must(fmt.Sprintf("ALTER TABLE added ADD PARTITION (`timestamp`='2024/01/%02d') LOCATION 's3://b/AWSLogs/1/CloudTrail/us-east-1/2024/01/%02d/'", day, day))
	}
	// A column timestamp of the files' own, which they lack, and one whose type
	// some files do not fit: they have no copy.
	b.must("CREATE EXTERNAL TABLE whole (" + strings.Replace(trailColumns, "eventid STRING", "eventid STRING, `timestamp` STRING", 1) + ")" + fmt.Sprintf(format, "org.openx.data.jsonserde.JsonSerDe"))
	b.must("CREATE EXTERNAL TABLE typed (" + strings.Replace(trailColumns, "eventversion STRING", "eventversion DOUBLE, `timestamp` DATE, useridentity_as_string STRING", 1) + ")" + fmt.Sprintf(format, "com.amazon.emr.hive.serde.CloudTrailSerde"))
	b.must("CREATE EXTERNAL TABLE misfit (" + strings.Replace(trailColumns, "additionaleventdata STRING", "additionaleventdata STRING, `timestamp` STRING", 1) + ")" + fmt.Sprintf(strings.Replace(format, "CloudTrail/'", "CloudTrail/us-east-1/'", 1), "com.amazon.emr.hive.serde.CloudTrailSerde"))
	b.must("CREATE EXTERNAL TABLE narrow (eventid string, eventtime timestamp, eventname int, `timestamp` string)" + fmt.Sprintf(format, "com.amazon.emr.hive.serde.CloudTrailSerde"))

	over := func(table string, every, from int) (out []string) {
		for i := from % every; i < len(sameEitherWay); i += every {
			out = append(out, fmt.Sprintf(sameEitherWay[i], table))
		}
		return out
	}
	// All queries over one table, and each over some of the others.
	queries := append(over("projected", 1, 0), "SELECT eventid, eventtime FROM narrow", "SELECT eventname FROM narrow", "SELECT region, \"timestamp\", count(*) FROM projected GROUP BY 1, 2 ORDER BY 1, 2",
		"SELECT eventid, region FROM projected WHERE region = 'eu-west-1' AND \"timestamp\" IN ('2024/01/01', '2024/01/03')", "SELECT useridentity_as_string FROM typed ORDER BY eventid",
		"SELECT p.eventid FROM projected p JOIN whole w ON p.eventid = w.eventid WHERE w.errorcode IS NOT NULL ORDER BY 1",
		"SELECT substr(p.eventtime, 1, 10), substr(m.eventtime, 1, 10), count(*) FROM projected p LEFT JOIN added m ON p.eventid = m.eventid GROUP BY 1, 2 ORDER BY 1, 2")
	for i, table := range []string{"added", "whole", "typed", "misfit"} {
		queries = append(queries, over(table, 6, i)...)
	}

	cache := b.copies()
	settled := func() {
		t.Helper()
		if err := cache.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// What the queries give without copies, while the objects stay as they are.
	plain := map[string]string{}
	check := func(state string, list []string) {
		t.Helper()
		b.svc.cfg.Copies = nil
		for _, q := range list {
			if plain[q] == "" {
				plain[q] = b.outcome(q)
			}
		}
		b.svc.cfg.Copies = cache
		for _, q := range list {
			if got := b.outcome(q); got != plain[q] {
				t.Errorf("%s: %s\n got %s\nwant %s", state, q, got, plain[q])
			}
		}
	}
	some := func(every int) []string {
		return append([]string{queries[0], queries[2], queries[7]}, slices.DeleteFunc(slices.Clone(queries), func(string) bool { return r.IntN(every) > 0 })...)
	}
	check("cold", over("projected", 9, 0))
	check("cold", []string{"SELECT eventid FROM added", "SELECT eventid FROM whole", "SELECT eventid FROM typed", "SELECT eventid FROM misfit", "SELECT eventid FROM narrow"})
	settled()
	if n := cache.Stats(); n.Copies == 0 || n.Packs == 0 {
		t.Fatalf("no copies were made: %+v", n)
	}
	before, files := cache.Stats().Read, b.packs(cache.Dir())
	check("warm", queries)
	settled()
	if now := b.packs(cache.Dir()); !slices.Equal(now, files) {
		t.Errorf("queries over the copies %q made others of them, %q: some failed that do not without copies", files, now)
	}
	if n := cache.Stats().Read - before; n < int64(len(queries))*5 {
		t.Errorf("%d copies were read by %d queries", n, len(queries))
	}
	packs := cache.Stats().Packs
	for round := range 5 {
		put("us-east-1", 1+r.IntN(3), 5+10*round, 5+r.IntN(9))
		put("eu-west-1", 1+r.IntN(3), 5+10*round, 5+r.IntN(9))
		clear(plain)
		check("new objects", []string{queries[0], "SELECT eventid FROM whole"})
		settled()
	}
	if n := cache.Stats().Packs; n > packs+4 {
		t.Errorf("%d packs grew to %d: they were not merged", packs, n)
	}
	check("merged", some(2))
	b.put(keys[4], pack(t, trailFile(r, "eu-west-1", 2, 500, 12)))
	clear(plain)
	check("replaced", some(9))
	for _, k := range []string{keys[0], keys[len(keys)-1], keys[8]} {
		if err := os.Remove(b.objects.path("b", k)); err != nil {
			t.Fatal(err)
		}
	}
	clear(plain)
	check("deleted", some(9))
	settled()
	check("made anew", some(4))
	b.objects.remote = true
	check("remote", some(20))
}

// TestPrefixesOf: which tables' copies have the prefix.
func TestPrefixesOf(t *testing.T) {
	t.Parallel()
	input := "com.amazon.emr.cloudtrail.CloudTrailInputFormat"
	for name, tc := range map[string]struct {
		table glue.Table
		want  int
	}{
		"a trail's":               {glue.Table{InputFormat: input, Columns: []glue.Column{{Name: "eventname", Type: "string"}, {Name: "eventtime", Type: "string"}}}, 1},
		"of JSON":                 {glue.Table{InputFormat: "org.apache.hadoop.mapred.TextInputFormat", Columns: []glue.Column{{Name: "eventtime", Type: "string"}}}, 0},
		"with a time":             {glue.Table{InputFormat: input, Columns: []glue.Column{{Name: "eventtime", Type: "timestamp"}}}, 0},
		"with a bounded text":     {glue.Table{InputFormat: input, Columns: []glue.Column{{Name: "eventtime", Type: "varchar(10)"}}}, 0},
		"without a time":          {glue.Table{InputFormat: input, Columns: []glue.Column{{Name: "eventname", Type: "string"}}}, 0},
		"partitioned by the time": {glue.Table{InputFormat: input, Columns: []glue.Column{{Name: "eventname", Type: "string"}}, PartitionKeys: []glue.Column{{Name: "eventtime", Type: "string"}}}, 0},
		"with such a column":      {glue.Table{InputFormat: input, Columns: []glue.Column{{Name: "eventtime", Type: "string"}, {Name: "EventTime$13", Type: "string"}}}, 0},
		"with such a key":         {glue.Table{InputFormat: input, Columns: []glue.Column{{Name: "eventtime", Type: "string"}}, PartitionKeys: []glue.Column{{Name: "eventtime$13", Type: "string"}}}, 0},
	} {
		if input == tc.table.InputFormat {
			tc.table.Serde = "com.amazon.emr.hive.serde.CloudTrailSerde"
		} else {
			tc.table.Serde = "org.openx.data.jsonserde.JsonSerDe"
		}
		columns, err := tableColumns(&tc.table)
		if err != nil {
			t.Fatal(err)
		}
		prefixes := prefixesOf(&tc.table, columns)
		withPrefixes(columns, prefixes)
		told := 0
		for _, c := range columns {
			if c.Prefix.Column != "" {
				told++
			}
		}
		if len(prefixes) != tc.want || told != tc.want {
			t.Errorf("%s: %v, told of %d", name, prefixes, told)
		}
	}
}

// TestCopiesKeepNoSecrets: who may not read an object gets nothing of its copy,
// and is asked for the same rights.
func TestCopiesKeepNoSecrets(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.trailFiles(t)
	cache := b.copies()
	b.must("CREATE EXTERNAL TABLE logs (" + trailColumns + ") ROW FORMAT SERDE 'com.amazon.emr.hive.serde.CloudTrailSerde' STORED AS INPUTFORMAT 'com.amazon.emr.cloudtrail.CloudTrailInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat' LOCATION 's3://b/AWSLogs/1/CloudTrail/'")
	asked := func() []call.Permission {
		b.rules.set(nil)
		b.must("SELECT count(*) FROM logs")
		b.rules.mu.Lock()
		defer b.rules.mu.Unlock()
		return slices.DeleteFunc(b.rules.asked, func(p call.Permission) bool { return strings.Contains(p.Resource, "/out/") })
	}
	cold := asked()
	if err := cache.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if warm := asked(); fmt.Sprint(warm) != fmt.Sprint(cold) {
		t.Errorf("with copies these rights are asked for:\n%v\nwithout:\n%v", warm, cold)
	}
	if cache.Stats().Read == 0 {
		t.Fatal("no copy was read")
	}
	for action, resource := range map[string]string{"s3:GetObject": "arn:aws:s3:::b/AWSLogs/1/CloudTrail/us-east-1/2024/01/02/1_CloudTrail_x.json.gz", "s3:ListBucket": "arn:aws:s3:::b"} {
		b.rules.set(func(p call.Permission) bool { return p.Action == action && p.Resource == resource })
		if got := b.refused("SELECT eventid FROM logs"); !strings.HasPrefix(got, "PERMISSION_DENIED: Access Denied when reading") {
			t.Errorf("%s denied: %s", action, got)
		}
	}
	b.rules.set(nil)
}

// TestCopiesAtOnce: queries that miss the same copies make them once.
func TestCopiesAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.trailFiles(t)
	cache := b.copies()
	b.must("CREATE EXTERNAL TABLE logs (" + trailColumns + ") ROW FORMAT SERDE 'com.amazon.emr.hive.serde.CloudTrailSerde' STORED AS INPUTFORMAT 'com.amazon.emr.cloudtrail.CloudTrailInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat' LOCATION 's3://b/AWSLogs/1/CloudTrail/'")
	for range 3 {
		var ids []string
		for range 8 {
			id, err := b.start("SELECT count(*) FROM logs")
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		b.svc.wg.Wait()
		for _, id := range ids {
			if got := b.object("out/" + id + ".csv"); got != "\"_col0\"\n\"18\"\n" {
				t.Error(got)
			}
		}
		if err := cache.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := cache.Stats(); n.Packs != 1 || n.Copies != 4 {
			t.Errorf("%+v", n)
		}
	}
}

// TestCopiesThatAreDamaged: the answer then comes from the objects, and the
// copies are made again.
func TestCopiesThatAreDamaged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.trailFiles(t)
	cache := b.copies()
	b.must("CREATE EXTERNAL TABLE logs (" + trailColumns + ") ROW FORMAT SERDE 'com.amazon.emr.hive.serde.CloudTrailSerde' STORED AS INPUTFORMAT 'com.amazon.emr.cloudtrail.CloudTrailInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat' LOCATION 's3://b/AWSLogs/1/CloudTrail/'")
	want := b.must("SELECT eventid FROM logs")
	for _, damage := range []func(string) error{os.Remove, func(p string) error { return os.Truncate(p, 100) }, func(p string) error { return os.WriteFile(p, []byte("PAR1"), 0o600) }} {
		if err := cache.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		files := b.packs(cache.Dir())
		if len(files) != 1 {
			t.Fatalf("%q", files)
		}
		if err := damage(files[0]); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := b.must("SELECT eventid FROM logs"); got != want {
				t.Errorf("got %s", got)
			}
			if err := cache.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		read := cache.Stats().Read
		if got := b.must("SELECT eventid FROM logs"); got != want || cache.Stats().Read == read {
			t.Errorf("the copies were not made again: %s, %+v", got, cache.Stats())
		}
	}
}
