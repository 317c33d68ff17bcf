package athena

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/call"
	"spoor/internal/journal"
)

// golden compares with testdata/name, or rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

func pack(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestResultBytes: a value of every type, as its bytes are in the result's
// object and as its column is described.
func TestResultBytes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	q := b.run(`SELECT 1 AS i, CAST(2 AS bigint) AS l, CAST(3 AS tinyint) AS t, CAST(4 AS smallint) AS s, 1.5 AS d, 0.1 + 0.2 AS sum, CAST(1e20 AS real) AS r, 1e-7 AS small,
		CAST('12.30' AS decimal(10,2)) AS dec, true AS b, 'a "quoted", text' AS v, '' AS empty, NULL AS n, 'two
lines' AS nl, DATE '2024-02-29' AS day, TIMESTAMP '2024-02-29 01:02:03' AS ts, TIMESTAMP '2024-02-29 01:02:03.5 UTC' AS tz, X'313233' AS bin,
		ARRAY[1, 2] AS arr, ARRAY['a', NULL] AS texts, MAP(ARRAY['y', 'x'], ARRAY[1, 2]) AS m, CAST(ROW(1, 'x') AS ROW(a integer, b varchar)) AS rw, json_parse('{"a": [1, 2]}') AS js,
		CAST('abc' AS varchar(5)) AS vc, INTERVAL '2' DAY AS iv, nan() AS nan, infinity() AS inf, ARRAY[ARRAY[1.5], NULL] AS deep, 1 = 2 AS f`)
	if q.Status.State != types.QueryExecutionStateSucceeded {
		t.Fatalf("%s: %s", q.Status.State, str(q.Status.StateChangeReason))
	}
	if *q.ResultConfiguration.OutputLocation != "s3://b/out/"+*q.QueryExecutionId+".csv" {
		t.Error(*q.ResultConfiguration.OutputLocation)
	}
	res, err := b.api.GetQueryResults(t.Context(), &sdk.GetQueryResultsInput{QueryExecutionId: q.QueryExecutionId})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	out.WriteString(b.object("out/" + *q.QueryExecutionId + ".csv"))
	for _, c := range res.ResultSet.ResultSetMetadata.ColumnInfo {
		fmt.Fprintf(&out, "%s: %s(%d,%d) nullable %s case %v catalog %s label %s\n", *c.Name, *c.Type, c.Precision, c.Scale, c.Nullable, c.CaseSensitive, *c.CatalogName, *c.Label)
	}
	out.WriteString(walkProto(t, strings.ReplaceAll(b.object("out/"+*q.QueryExecutionId+".csv.metadata"), *q.QueryExecutionId, "00000000-0000-0000-0000-000000000000"), ""))
	golden(t, "types.txt", out.String())
	if len(res.ResultSet.Rows) != 2 || res.NextToken != nil || *res.UpdateCount != 0 {
		t.Fatalf("%d rows, token %v, update count %v", len(res.ResultSet.Rows), res.NextToken, res.UpdateCount)
	}
	for i, d := range res.ResultSet.Rows[1].Data {
		switch *res.ResultSet.ResultSetMetadata.ColumnInfo[i].Name {
		case "n":
			if d.VarCharValue != nil {
				t.Errorf("NULL is %q", *d.VarCharValue)
			}
		case "empty":
			if d.VarCharValue == nil || *d.VarCharValue != "" {
				t.Error("the empty text is NULL")
			}
		case "nl":
			if *d.VarCharValue != "two\nlines" {
				t.Errorf("%q", *d.VarCharValue)
			}
		}
	}
}

// walkProto prints a protobuf message field by field; texts that are no
// messages stay texts.
func walkProto(t *testing.T, m, indent string) string {
	t.Helper()
	var out strings.Builder
	uvarint := func() uint64 {
		var v uint64
		for shift := 0; ; shift += 7 {
			if m == "" || shift > 63 {
				t.Fatal("a damaged varint")
			}
			c := m[0]
			m = m[1:]
			v |= uint64(c&0x7f) << shift
			if c < 0x80 {
				return v
			}
		}
	}
	for m != "" {
		tag := uvarint()
		switch tag & 7 {
		case 0:
			fmt.Fprintf(&out, "%s%d: %d\n", indent, tag>>3, uvarint())
		case 2:
			n := uvarint()
			if n > uint64(len(m)) {
				t.Fatal("a damaged length")
			}
			v := m[:n]
			m = m[n:]
			if indent == "" && tag>>3 == 4 {
				fmt.Fprintf(&out, "%d:\n%s", tag>>3, walkProto(t, v, "  "))
			} else {
				fmt.Fprintf(&out, "%s%d: %q\n", indent, tag>>3, v)
			}
		default:
			t.Fatalf("wire type %d", tag&7)
		}
	}
	return out.String()
}

const trailColumns = `eventversion STRING, useridentity STRUCT<type:STRING, principalid:STRING, arn:STRING, accountid:STRING, invokedby:STRING, accesskeyid:STRING, username:STRING,
	onbehalfof:STRUCT<userid:STRING, identitystorearn:STRING>,
	sessioncontext:STRUCT<attributes:STRUCT<mfaauthenticated:STRING, creationdate:STRING>, sessionissuer:STRUCT<type:STRING, principalid:STRING, arn:STRING, accountid:STRING, username:STRING>,
		ec2roledelivery:STRING, webidfederationdata:STRUCT<federatedprovider:STRING, attributes:MAP<STRING,STRING>>>>,
	eventtime STRING, eventsource STRING, eventname STRING, awsregion STRING, sourceipaddress STRING, useragent STRING, errorcode STRING, errormessage STRING,
	requestparameters STRING, responseelements STRING, additionaleventdata STRING, requestid STRING, eventid STRING,
	resources ARRAY<STRUCT<arn:STRING, accountid:STRING, type:STRING>>, eventtype STRING, apiversion STRING, readonly STRING, recipientaccountid STRING, serviceeventdetails STRING,
	sharedeventid STRING, vpcendpointid STRING, vpcendpointaccountid STRING, eventcategory STRING,
	addendum STRUCT<reason:STRING, updatedfields:STRING, originalrequestid:STRING, originaleventid:STRING>, sessioncredentialfromconsole STRING, edgedevicedetails STRING,
	tlsdetails STRUCT<tlsversion:STRING, ciphersuite:STRING, clientprovidedhostheader:STRING>`

// trailFiles writes log files of three days, one broken, one digest-like.
func (b *bench) trailFiles(t *testing.T) {
	t.Helper()
	day := func(d int) string {
		var recs []string
		add := func(name, source, extra string) {
			recs = append(recs, fmt.Sprintf(`{"eventVersion":"1.11","eventTime":"2024-01-%02dT0%d:00:00Z","eventName":%q,"eventSource":%q,"awsRegion":"us-east-1","sourceIPAddress":"192.0.2.%d","eventID":"%d-%d"%s}`, d, len(recs), name, source, d, d, len(recs), extra))
		}
		add("GetObject", "s3.amazonaws.com", `,"userIdentity":{"type":"AWSAccount","accountId":"anonymous"},"requestParameters":{"bucketName":"bucket","key":"k"}`)
		add("DeleteBucket", "s3.amazonaws.com", `,"userIdentity":{"type":"IAMUser","userName":"eve","arn":"arn:aws:iam::1:user/eve","accessKeyId":"AKIAEVE"},"resources":[{"ARN":"arn:aws:s3:::gone","accountId":"111","type":"AWS::S3::Bucket"}]`)
		add("ConsoleLogin", "signin.amazonaws.com", `,"userIdentity":{"type":"Root","arn":"arn:aws:iam::1:root"},"responseElements":{"ConsoleLogin":"Success"},"additionalEventData":{"MFAUsed":"No"}`)
		add("RunInstances", "ec2.amazonaws.com", `,"userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/r/s","sessionContext":{"sessionIssuer":{"arn":"arn:aws:iam::1:role/r"}}},"errorCode":"Client.UnauthorizedOperation"`)
		add("AuthorizeSecurityGroupIngress", "ec2.amazonaws.com", `,"userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::1:user/eve"},"requestParameters":{"groupId":"sg-1","ipPermissions":{"items":[{"fromPort":22}]}},"responseElements":null`)
		add("StopLogging", "cloudtrail.amazonaws.com", `,"userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::1:user/eve"},"readOnly":false`)
		return `{"Records":[` + strings.Join(recs, ",") + `]}`
	}
	for d := 1; d <= 3; d++ {
		b.put(fmt.Sprintf("AWSLogs/1/CloudTrail/us-east-1/2024/01/%02d/1_CloudTrail_x.json.gz", d), pack(t, day(d)))
	}
	b.put("AWSLogs/1/CloudTrail/us-east-1/2024/01/02/broken.json.gz", pack(t, day(2))[:100])
	b.put("AWSLogs/1/CloudTrail/us-east-1/2024/01/02/_hidden.json.gz", pack(t, day(2)))
}

// canonical are the queries that people run over CloudTrail's files, with what
// they give here.
var canonical = []struct{ name, query string }{
	{"who did what", `SELECT useridentity.arn, eventname, sourceipaddress, eventtime FROM %s ORDER BY eventtime, eventname LIMIT 100`},
	{"anonymous reads", `SELECT eventid FROM %s WHERE eventsource = 's3.amazonaws.com' AND eventname IN ('GetObject') AND useridentity.accountid = 'anonymous' AND useridentity.arn IS NULL AND requestparameters LIKE '%%bucket%%' ORDER BY 1`},
	{"nested issuer", `SELECT useridentity.sessioncontext.sessionissuer.arn AS issuer FROM %s WHERE useridentity.sessioncontext.sessionissuer.arn IS NOT NULL GROUP BY 1`},
	{"resources", `SELECT DISTINCT replace(unnested.resources_entry.ARN, 'arn:aws:s3:::') AS bucket FROM %s t CROSS JOIN UNNEST(t.resources) unnested (resources_entry) WHERE unnested.resources_entry.ARN LIKE '%%s3%%'`},
	{"deleted buckets", `SELECT eventtime, useridentity.username, unnested.resources_entry.accountid FROM %s t CROSS JOIN UNNEST(t.resources) unnested (resources_entry) WHERE eventname = 'DeleteBucket' ORDER BY eventtime`},
	{"console sign-ins", `SELECT eventtime, json_extract_scalar(responseelements, '$.ConsoleLogin') AS login, json_extract_scalar(additionaleventdata, '$.MFAUsed') AS mfa FROM %s WHERE eventname = 'ConsoleLogin' ORDER BY 1`},
	{"denied calls", `SELECT useridentity.arn, eventname, count(*) AS n FROM %s WHERE errorcode IN ('AccessDenied', 'Client.UnauthorizedOperation') GROUP BY useridentity.arn, eventname`},
	{"security groups", `SELECT json_extract_scalar(requestparameters, '$.groupId') AS grp, json_extract(requestparameters, '$.ipPermissions.items') AS items FROM %s WHERE eventname LIKE '%%SecurityGroup%%'`},
	{"root and keys", `SELECT eventname, useridentity.accesskeyid FROM %s WHERE useridentity.type = 'Root' OR useridentity.accesskeyid = 'AKIAEVE' ORDER BY eventtime`},
	{"tampering", `SELECT eventtime, eventname, readonly FROM %s WHERE eventname IN ('StopLogging', 'DeleteTrail', 'UpdateTrail', 'PutEventSelectors') ORDER BY 1`},
	{"top talkers", `SELECT date_trunc('day', from_iso8601_timestamp(eventtime)) AS day, count(*) AS n FROM %s GROUP BY 1 ORDER BY 2 DESC, 1`},
	{"time window", `SELECT eventname FROM %s WHERE eventtime >= '2024-01-03T00:00:00Z' AND eventtime < '2024-01-03T03:00:00Z' ORDER BY eventtime`},
}

// TestCloudTrail runs the canonical queries over a table of each SerDe.
func TestCloudTrail(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.trailFiles(t)
	for _, remote := range []bool{false, true} {
		b.objects.remote = remote
		var first string
		for table, serde := range map[string]string{"hive": "org.apache.hive.hcatalog.data.JsonSerDe", "own": "com.amazon.emr.hive.serde.CloudTrailSerde"} {
			name := fmt.Sprintf("%s_%v", table, remote)
			b.must("CREATE EXTERNAL TABLE " + name + " (" + trailColumns + ") COMMENT 'CloudTrail' ROW FORMAT SERDE '" + serde + "' STORED AS INPUTFORMAT 'com.amazon.emr.cloudtrail.CloudTrailInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat' LOCATION 's3://b/AWSLogs/1/CloudTrail/' TBLPROPERTIES ('classification'='cloudtrail')")
			var out strings.Builder
			for _, q := range canonical {
				out.WriteString("-- " + q.name + "\n" + b.must(fmt.Sprintf(q.query, name)))
			}
			if first == "" {
				first = out.String()
				golden(t, "cloudtrail.txt", first)
			} else if out.String() != first {
				t.Errorf("the SerDes differ:\n%s\n%s", first, out.String())
			}
		}
	}
	q := b.run("SELECT count(*) FROM hive_false")
	if s := q.Statistics; *s.DataScannedInBytes < 1000 || *s.EngineExecutionTimeInMillis < 1 || *s.QueryQueueTimeInMillis < 1 || *s.TotalExecutionTimeInMillis < 1 {
		t.Errorf("%+v", s)
	}
	if got := b.must(`SELECT "$path" FROM hive_false WHERE eventid = '2-0'`); got != "\"$path\"\n\"s3://b/AWSLogs/1/CloudTrail/us-east-1/2024/01/02/1_CloudTrail_x.json.gz\"\n" {
		t.Error(got)
	}
}

// TestProjection: partitions come from the table's properties, and only those
// that a query wants are read.
func TestProjection(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.trailFiles(t)
	b.now.Store(time.Date(2024, 1, 3, 12, 0, 0, 0, time.UTC).UnixNano())
	b.must("CREATE EXTERNAL TABLE logs (" + trailColumns + ") PARTITIONED BY (`timestamp` string) ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe' STORED AS INPUTFORMAT 'com.amazon.emr.cloudtrail.CloudTrailInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat' LOCATION 's3://b/AWSLogs/1/CloudTrail/us-east-1' " +
		"TBLPROPERTIES ('projection.enabled'='true', 'projection.timestamp.format'='yyyy/MM/dd', 'projection.timestamp.interval'='1', 'projection.timestamp.interval.unit'='DAYS', 'projection.timestamp.range'='2024/01/01,NOW', 'projection.timestamp.type'='date', 'storage.location.template'='s3://b/AWSLogs/1/CloudTrail/us-east-1/${timestamp}')")
	if got := b.must(`SELECT "timestamp", count(*) AS n FROM logs GROUP BY 1 ORDER BY 1`); got != "\"timestamp\",\"n\"\n\"2024/01/01\",\"6\"\n\"2024/01/02\",\"6\"\n\"2024/01/03\",\"6\"\n" {
		t.Error(got)
	}
	whole := *b.run(`SELECT count(*) FROM logs`).Statistics.DataScannedInBytes
	for where, n := range map[string]string{
		`"timestamp" >= '2024/01/02'`: "12", `"timestamp" = '2024/01/02'`: "6", `"timestamp" IN ('2024/01/01', '2024/01/03', '1999/01/01')`: "12",
		`"timestamp" BETWEEN '2024/01/01' AND '2024/01/02' AND eventname = 'StopLogging'`: "2", `"timestamp" > '2024/02/01'`: "0", `'2024/01/02' > "timestamp"`: "6",
		`"timestamp" = '2024/01/02' OR eventname = 'StopLogging'`: "8",
	} {
		q := b.run("SELECT count(*) FROM logs WHERE " + where)
		if got := b.object("out/" + *q.QueryExecutionId + ".csv"); got != "\"_col0\"\n\""+n+"\"\n" {
			t.Errorf("%s: %s", where, got)
		}
		if scanned := *q.Statistics.DataScannedInBytes; scanned >= whole && !strings.Contains(where, " OR ") {
			t.Errorf("%s read %d of %d bytes", where, scanned, whole)
		}
	}
	b.put("p/a/07/f.csv", "x\n")
	b.put("p/b/08/f.csv", "y\nz\n")
	b.must("CREATE EXTERNAL TABLE p (v string) PARTITIONED BY (k string, n int, i string) LOCATION 's3://b/p/' TBLPROPERTIES ('projection.enabled'='true', 'projection.k.type'='enum', 'projection.k.values'='a, b', " +
		"'projection.n.type'='integer', 'projection.n.range'='1,10', 'projection.n.digits'='2', 'projection.i.type'='injected', 'storage.location.template'='s3://b/${i}/${k}/${n}/')")
	if got := b.must("SELECT k, n, v FROM p WHERE i = 'p' AND n > 6 ORDER BY v"); got != "\"k\",\"n\",\"v\"\n\"a\",\"7\",\"x\"\n\"b\",\"8\",\"y\"\n\"b\",\"8\",\"z\"\n" {
		t.Error(got)
	}
	if got := b.refused("SELECT * FROM p"); !strings.HasPrefix(got, "CONSTRAINT_VIOLATION: For the injected projected partition column i") {
		t.Error(got)
	}
	b.must("CREATE EXTERNAL TABLE bad (v string) PARTITIONED BY (k string) LOCATION 's3://b/p/' TBLPROPERTIES ('projection.enabled'='true')")
	if got := b.refused("SELECT * FROM bad"); got != "HIVE_METASTORE_ERROR: Table default.bad is configured for partition projection, but the following partition columns are missing projection configuration: [k] (table default.bad)" {
		t.Error(got)
	}
}

// TestFailures: how queries fail, with Trino's error names and Athena's codes.
func TestFailures(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put("t/f", "1\n")
	b.put("j/f", "{oops\n")
	b.must("CREATE EXTERNAL TABLE t (a int) LOCATION 's3://b/t/'")
	b.must("CREATE EXTERNAL TABLE j (a int) ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' LOCATION 's3://b/j/'")
	b.must("CREATE EXTERNAL TABLE q (a int) STORED AS PARQUET LOCATION 's3://b/j/'")
	b.put("c/f", "x\n")
	b.must("CREATE EXTERNAL TABLE csv (a int) ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.OpenCSVSerde' LOCATION 's3://b/c/'")
	b.must("CREATE EXTERNAL TABLE gone (a int) LOCATION 's3://other/x/'")
	for query, want := range map[string]struct {
		reason         string
		category, kind int32
	}{
		"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t": {"NOT_SUPPORTED: Recursion depth limit exceeded (10). Use 'max_recursion_depth' session property to modify the limit.", 2, 1200},
		"SELECT * FROM none":                     {"TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.default.none' does not exist", 2, 1301},
		"SELECT * FROM nodb.none":                {"SCHEMA_NOT_FOUND: line 1:15: Schema 'nodb' does not exist", 2, 1301},
		"SELECT b FROM t":                        {"COLUMN_NOT_FOUND: line 1:8: Column 'b' cannot be resolved or requester is not authorized to access requested resources", 2, 1006},
		"SELECT a / 0 FROM t":                    {"DIVISION_BY_ZERO: Division by zero", 2, 1001},
		"SELECT a FROM t WHERE a = 'x'":          {"TYPE_MISMATCH: ", 2, 1002},
		"SELECT nothing(a) FROM t":               {"FUNCTION_NOT_FOUND: line 1:8: Function 'nothing' not registered", 2, 1303},
		"SELECT * FROM j":                        {"HIVE_CURSOR_ERROR: Row is not a valid JSON Object", 2, 1000},
		"SELECT * FROM q":                        {"HIVE_CANNOT_OPEN_SPLIT: a file of the table is not a valid Parquet file", 2, 1000},
		"SELECT * FROM gone":                     {"HIVE_FILESYSTEM_ERROR: The specified bucket does not exist: other", 2, 1000},
		"SELECT ? ":                              {"INVALID_PARAMETER_USAGE: line 1:1: Incorrect number of parameters: expected 1 but found 0", 2, 1000},
		"SELECT a, count(*) FROM t":              {"EXPRESSION_NOT_AGGREGATE: 'a' must be an aggregate expression or appear in GROUP BY clause", 2, 1000},
		"SELECT a FROM t ORDER BY 3":             {"INVALID_COLUMN_REFERENCE: ORDER BY position is not in select list", 2, 1000},
		"SELECT a FROM t GROUP BY 2":             {"INVALID_COLUMN_REFERENCE: GROUP BY position is not in select list", 2, 1000},
		"SELECT 2147483646 + 1 + a FROM t":       {"NUMERIC_VALUE_OUT_OF_RANGE: integer addition overflow: 2147483647 + 1", 2, 1000},
		"SELECT CAST(a + 299 AS tinyint) FROM t": {"INVALID_CAST_ARGUMENT: Out of range for tinyint: 300", 2, 1100},
		"SELECT json_parse('bad')":               {"INVALID_FUNCTION_ARGUMENT: Cannot convert value to JSON: 'bad'", 2, 1000},
		"SELECT upper(a) FROM t":                 {"FUNCTION_NOT_FOUND: Unexpected parameters (integer) for function upper", 2, 1303},
		"SELECT * FROM csv":                      {"HIVE_BAD_DATA: Error parsing field value 'x' for field 0: For input string: \"x\"", 2, 1000},
		"DROP TABLE none":                        {"FAILED: SemanticException [Error 10001]: Table not found default.none", 2, 1003},
		"DROP DATABASE none":                     {"FAILED: SemanticException [Error 10072]: Database does not exist: none", 2, 1003},
		"INSERT INTO t VALUES (1)":               {"NOT_SUPPORTED: ", 2, 1200},
		"CREATE TABLE c AS SELECT 1 AS a":        {"NOT_SUPPORTED: ", 2, 1200},
		"CREATE TABLE i (a int) LOCATION 's3://b/i/' TBLPROPERTIES ('table_type'='ICEBERG')": {"NOT_SUPPORTED: tables of Iceberg", 2, 1200},
		"SELECT * FROM other.default.t":            {"CATALOG_NOT_FOUND: line 1:1: Catalog 'other' does not exist", 2, 1006},
		"SELECT * FROM read_csv('/etc/passwd')":    {"", 2, 0},
		"SELECT read_text('/etc/passwd')":          {"FUNCTION_NOT_FOUND", 2, 1303},
		"SELECT getenv('HOME')":                    {"FUNCTION_NOT_FOUND", 2, 1303},
		"SELECT * FROM \"/etc/passwd\"":            {"TABLE_NOT_FOUND", 2, 1301},
		"SELECT * FROM duckdb_settings":            {"TABLE_NOT_FOUND", 2, 1301},
		"SELECT * FROM information_schema.schemas": {"", 2, 0},
	} {
		id, err := b.start(query)
		if err != nil { // the grammar has no table functions
			if want.reason != "" {
				t.Errorf("%s: %v", query, err)
			}
			continue
		}
		b.svc.wg.Wait()
		q := b.get(id)
		e := q.Status.AthenaError
		if q.Status.State != types.QueryExecutionStateFailed || e == nil {
			t.Errorf("%s: %s", query, q.Status.State)
			continue
		}
		if !strings.HasPrefix(*e.ErrorMessage, want.reason) || *e.ErrorCategory != want.category || want.kind != 0 && *e.ErrorType != want.kind || strings.Contains(*e.ErrorMessage, b.objects.root) {
			t.Errorf("%s: %s (%d, %d)", query, *e.ErrorMessage, *e.ErrorCategory, *e.ErrorType)
		}
	}
	b.objects.fail.Store(true)
	if e := b.run("SELECT 1").Status.AthenaError; e == nil || *e.ErrorCategory != 1 || *e.ErrorType != 401 {
		t.Errorf("a result that cannot be written: %+v", e)
	}
}

// TestPermissions: a query needs its caller's rights on catalogue and storage.
func TestPermissions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put("t/f", "1\n")
	b.must("CREATE EXTERNAL TABLE t (a int) LOCATION 's3://b/t/'")
	b.rules.set(nil)
	b.must("SELECT a FROM t")
	for action, arn := range map[string]string{"athena:StartQueryExecution": "arn:aws:athena:us-east-1:123456789012:workgroup/primary", "s3:GetBucketLocation": "arn:aws:s3:::b", "s3:ListBucket": "arn:aws:s3:::b", "s3:GetObject": "arn:aws:s3:::b/t/f",
		"glue:GetTable": "arn:aws:glue:us-east-1:123456789012:table/default/t"} {
		if got := b.rules.actions()[action]; got != arn {
			t.Errorf("%s was asked for on %q", action, got)
		}
	}
	for action, want := range map[string]string{
		"s3:GetObject":          "PERMISSION_DENIED: Access Denied when reading s3://b/t/",
		"s3:ListBucket":         "PERMISSION_DENIED: Access Denied when reading s3://b/t/",
		"s3:PutObject":          "Access denied when writing output to url: s3://b/out/",
		"s3:GetBucketLocation":  "Access denied when writing output to url: s3://b/out/",
		"glue:GetTable":         "Insufficient permissions to execute the query. User: arn:aws:iam::123456789012:user/alice is not authorized to perform: glue:GetTable",
		"athena:GetQueryResult": "",
	} {
		b.rules.set(func(p call.Permission) bool { return p.Action == action })
		if want == "" {
			continue
		}
		if got := b.refused("SELECT a FROM t"); !strings.HasPrefix(got, want) {
			t.Errorf("without %s: %s", action, got)
		}
	}
	b.rules.set(func(p call.Permission) bool { return p.Action == "athena:StartQueryExecution" })
	if _, err := b.start("SELECT 1"); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("without athena:StartQueryExecution: %v", err)
	}
}

// TestStop: a stopped query is CANCELLED, whether it runs or waits.
func TestStop(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const long = "SELECT count(*) FROM UNNEST(sequence(1, 10000)) AS a(x) CROSS JOIN UNNEST(sequence(1, 10000)) AS b(y) CROSS JOIN UNNEST(sequence(1, 10000)) AS c(z) CROSS JOIN UNNEST(sequence(1, 10000)) AS d(u) WHERE x + y = z + u"
	var ids []string
	for range 4 { // two run, two wait
		id, err := b.start(long)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	_, err := b.api.GetQueryResults(t.Context(), &sdk.GetQueryResultsInput{QueryExecutionId: &ids[3]})
	if err == nil || !strings.Contains(err.Error(), "Query has not yet finished. Current state: ") {
		t.Error(err)
	}
	for _, id := range ids {
		if _, err := b.api.StopQueryExecution(t.Context(), &sdk.StopQueryExecutionInput{QueryExecutionId: &id}); err != nil {
			t.Fatal(err)
		}
	}
	b.svc.wg.Wait()
	for _, id := range ids {
		q := b.get(id)
		if q.Status.State != types.QueryExecutionStateCancelled || str(q.Status.StateChangeReason) != "Query cancelled by user" || q.Status.AthenaError != nil {
			t.Errorf("%s %s %+v", q.Status.State, str(q.Status.StateChangeReason), q.Status.AthenaError)
		}
		if _, err := b.api.StopQueryExecution(t.Context(), &sdk.StopQueryExecutionInput{QueryExecutionId: &id}); err != nil {
			t.Errorf("stopping again: %v", err)
		}
		if _, err := b.api.GetQueryResults(t.Context(), &sdk.GetQueryResultsInput{QueryExecutionId: &id}); err == nil || !strings.Contains(err.Error(), "Could not find results") {
			t.Error(err)
		}
	}
}

// TestRecordOfBadQuery: the client is told what does not parse, and the record
// holds nothing of the statement.
func TestRecordOfBadQuery(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for query, told := range map[string]string{
		"SELECT E'secret-1'":         "line 1:9: mismatched input ''secret-1''. Expecting: <EOF>",
		"SELECT 1; SELECT 'secret2'": "Only one sql statement is allowed. Got: SELECT 1; SELECT 'secret2'",
	} {
		if _, err := b.start(query); err == nil || !strings.Contains(err.Error(), told) {
			t.Errorf("%s: %v", query, err)
		}
	}
	n := 0
	err := b.journal.Read(0, b.journal.Head(), func(it journal.Item) (bool, error) {
		n++
		if text := string(it.JSON); strings.Contains(text, "secret") || !strings.Contains(text, `"errorMessage":"`) {
			t.Errorf("recorded: %s", text)
		}
		return true, nil
	})
	if err != nil || n != 2 {
		t.Errorf("%d records, %v", n, err)
	}
}
