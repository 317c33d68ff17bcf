package keyspaces

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spoor/internal/call"
	"spoor/internal/cql"
	"spoor/internal/cql/frame"
)

const (
	keyspaceARN = "arn:aws:cassandra:us-east-1:111122223333:/keyspace/my_keyspace/"
	tableARN    = keyspaceARN + "table/my_table"
)

func intValue(v int32) frame.Value {
	return frame.Value{Data: []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}}
}

func textValue(s string) frame.Value { return frame.Value{Data: []byte(s)} }

// TestRecords: the parameters of each kind of statement. The first of each kind
// are the samples of the developer guide's page on CloudTrail.
func TestRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const create = "\n\tCREATE KEYSPACE \"my_keyspace\"\n\tWITH\n\t\tREPLICATION = {'class': 'SingleRegionStrategy'}\n\t\t"
	const table = "CREATE TABLE my_keyspace.my_table (pk text, ck int, region text, nonkey int, m map<text, int>, b blob, PRIMARY KEY (pk, ck))"
	raw := func(text, rest string) string {
		q, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return `{"rawQuery":` + string(q) + `,"keyspaceName":"my_keyspace"` + rest + `}`
	}
	const names = `{"keyspaceName":"my_keyspace","tableName":"my_table",`
	for _, c := range []struct {
		text   string
		values []frame.Value
		event  string
		want   string
	}{
		{create, nil, "CreateKeyspace", raw(create, "")},
		{table, nil, "CreateTable", raw(table, `,"tableName":"my_table"`)},
		{"INSERT INTO my_keyspace.my_table (pk, ck, region) VALUES (?, ?, ?) USING TTL 20000", []frame.Value{textValue("p"), intValue(1008), textValue("test")}, "Insert",
			names + `"primaryKeys":{"pk":"**(Redacted)","ck":"1**(Redacted)8"},"columnNames":["pk","ck","region"],"updateParameters":{"TTL":"2**(Redacted)0"}}`},
		{"SELECT pk, ck, region FROM my_keyspace.my_table WHERE pk = 'p' AND ck < 3000 AND region = 'test' ALLOW FILTERING", nil, "Select",
			names + `"conditions":["pk = **(Redacted)","ck < 3**(Redacted)0","region = 't**(Redacted)t'"],"select":["pk","ck","region"],"allowFiltering":true}`},
		{"UPDATE my_keyspace.my_table SET nonkey = ? WHERE pk = ? AND ck = ? IF nonkey < ?", []frame.Value{intValue(12), textValue("test"), intValue(7), intValue(1007)}, "Update",
			names + `"primaryKeys":{"pk":"'t**(Redacted)t'","ck":"**(Redacted)"},"assignmentColumnNames":["nonkey"],"conditions":["nonkey < 1**(Redacted)7"]}`},
		{"DELETE region, nonkey FROM my_keyspace.my_table WHERE pk = 'a' AND ck = 2", nil, "Delete",
			names + `"primaryKeys":{"pk":"**(Redacted)","ck":"**(Redacted)"},"conditions":[],"deleteColumnNames":["region","nonkey"],"updateParameters":{}}`},
		{"SELECT count(*) FROM my_keyspace.my_table WHERE pk IN ('alpha', 'be') AND m CONTAINS 12345 AND b = 0xcafebabe ALLOW FILTERING", nil, "Select",
			names + `"conditions":["pk IN ('a**(Redacted)a', **(Redacted))","m CONTAINS 1**(Redacted)5","b = **(Redacted)"],"select":["count(*)"],"allowFiltering":true}`},
		{"SELECT * FROM my_keyspace.my_table WHERE token(pk) > 123456", nil, "Select",
			names + `"conditions":["token(pk) > 1**(Redacted)6"],"select":["pk","ck","b","m","nonkey","region"],"allowFiltering":false}`},
		{"INSERT INTO my_keyspace.my_table JSON '{\"pk\": \"secret\", \"ck\": 1}'", nil, "Insert",
			names + `"primaryKeys":{"pk":"**(Redacted)","ck":"**(Redacted)"},"columnNames":[],"updateParameters":{}}`},
		{"DROP TABLE my_keyspace.my_table", nil, "DropTable", raw("DROP TABLE my_keyspace.my_table", `,"tableName":"my_table"`)},
		{"DROP KEYSPACE my_keyspace", nil, "DropKeyspace", raw("DROP KEYSPACE my_keyspace", "")},
	} {
		before := len(b.records())
		b.must(c.text, c.values...)
		all := b.records()
		if len(all) != before+1 {
			t.Fatalf("%s made %d records", c.text, len(all)-before)
		}
		r := all[before]
		var want any
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, r["requestParameters"]); d != "" {
			t.Errorf("%s:\n%s", c.text, d)
		}
		resource := map[string]any{"accountId": "111122223333", "type": "AWS::Cassandra::Table", "ARN": tableARN}
		if strings.HasSuffix(c.event, "Keyspace") {
			resource["type"], resource["ARN"] = "AWS::Cassandra::Keyspace", keyspaceARN
		}
		data := c.event == "Insert" || c.event == "Select" || c.event == "Update" || c.event == "Delete"
		for key, want := range map[string]any{"eventName": c.event, "eventSource": "cassandra.amazonaws.com", "apiVersion": "3.4.4",
			"userAgent": "Cassandra Client/ProtocolV4", "responseElements": nil, "readOnly": c.event == "Select", "managementEvent": !data,
			"resources": []any{resource}, "sourceIPAddress": "10.0.0.1", "errorCode": nil} {
			if d := cmp.Diff(want, r[key]); d != "" {
				t.Errorf("%s: %s:\n%s", c.text, key, d)
			}
		}
	}
}

// TestFailedRecords: what fails or is denied leaves a record too, and no
// constant of the statement gets into it.
func TestFailedRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	b.must("CREATE TABLE ks.t (pk int PRIMARY KEY, v text)")
	for _, c := range []struct {
		text string
		code cql.ErrorCode
		want string // the record's error code
	}{
		{"SELECT * FROM ks.nothing WHERE pk = 77771234", cql.CodeInvalid, "ResourceNotFoundException"},
		{"INSERT INTO ks.t (pk, v) VALUES ('77771234', 'x')", cql.CodeInvalid, "ValidationException"},
		{"SELECT nope FROM ks.t", cql.CodeInvalid, "ValidationException"},
		{"CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}", cql.CodeAlreadyExists, "ConflictException"},
		{"TRUNCATE ks.t", cql.CodeInvalid, "ValidationException"},
		{"CREATE ROLE r WITH PASSWORD = '77771234'", cql.CodeInvalid, "ValidationException"},
	} {
		e := b.refused(c.text)
		if e.Code != c.code {
			t.Errorf("%s: %v", c.text, e)
		}
		all := b.records()
		r := all[len(all)-1]
		if r["errorCode"] != c.want {
			t.Errorf("%s: the record's error is %v %v", c.text, r["errorCode"], r["errorMessage"])
		}
		if js, err := json.Marshal(r); err != nil || strings.Contains(string(js), "77771234") {
			t.Errorf("%s: the record shows the constant: %s %v", c.text, js, err)
		}
	}
	b.rules.deny = func(p call.Permission) bool { return p.Action == "cassandra:Modify" }
	if e := b.refused("INSERT INTO ks.t (pk, v) VALUES (1, 'x')"); e.Code != cql.CodeUnauthorized {
		t.Error(e)
	}
	all := b.records()
	if r := all[len(all)-1]; r["errorCode"] != "AccessDenied" || r["eventName"] != "Insert" {
		t.Errorf("the record of a denied call is %v", r)
	}
}

// TestBatchRecords: a batch makes one record a statement, under one request id.
func TestBatchRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	b.must("CREATE TABLE ks.t (pk int PRIMARY KEY, v text)")
	before := len(b.records())
	b.must("BEGIN BATCH INSERT INTO ks.t (pk, v) VALUES (1, 'a'); UPDATE ks.t SET v = 'b' WHERE pk = 2; DELETE FROM ks.t WHERE pk = 3; APPLY BATCH")
	list := b.records()[before:]
	if len(list) != 3 {
		t.Fatalf("%d records", len(list))
	}
	ids := map[any]bool{}
	for i, name := range []string{"Insert", "Update", "Delete"} {
		if list[i]["eventName"] != name || list[i]["requestID"] != list[0]["requestID"] {
			t.Errorf("record %d is %v of %v", i, list[i]["eventName"], list[i]["requestID"])
		}
		ids[list[i]["eventID"]] = true
	}
	if len(ids) != 3 {
		t.Error("the records share an event id")
	}
}

// TestTooLargeBatchRecords: a batch of more statements than there may be makes
// no more records than the largest one that is taken, and one for the excess.
func TestTooLargeBatchRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	b.must("CREATE TABLE ks.t (pk int PRIMARY KEY, v text)")
	before := len(b.records())
	batch := func(n int) string {
		return "BEGIN BATCH " + strings.Repeat("DELETE FROM ks.t WHERE pk = 3; ", n) + "APPLY BATCH"
	}
	b.must(batch(maxBatch))
	if n := len(b.records()) - before; n != maxBatch {
		t.Fatalf("%d records of the largest batch", n)
	}
	before = len(b.records())
	if e := b.refused(batch(4000)); e.Message != "A batch can have at most 100 statements" {
		t.Errorf("refused with %v", e)
	}
	if n := len(b.records()) - before; n != maxBatch+1 {
		t.Errorf("%d records of a batch that is too large", n)
	}
}

// TestPermissions: what each statement needs.
func TestPermissions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const root = "arn:aws:cassandra:us-east-1:111122223333:/keyspace/"
	for _, c := range []struct{ text, want string }{
		{"CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'} AND TAGS = {'a': 'b'}", "cassandra:Create ks/, cassandra:TagResource ks/"},
		{"USE ks", ""},
		{"CREATE TYPE ty (a int)", "cassandra:Create ks/"},
		{"CREATE TABLE t (p int PRIMARY KEY, v int)", "cassandra:Create ks/table/t"},
		{"ALTER TABLE t ADD w int", "cassandra:Alter ks/table/t"},
		{"ALTER TABLE t ADD TAGS {'x': 'y'}", "cassandra:TagResource ks/table/t"},
		{"SELECT * FROM t", "cassandra:Select ks/table/t"},
		{"SELECT * FROM system.local", "cassandra:Select system/table/local"},
		{"BEGIN BATCH INSERT INTO t (p) VALUES (1); DELETE FROM ks.t WHERE p = 2; APPLY BATCH", "cassandra:Modify ks/table/t, cassandra:Modify ks/table/t"},
		{"DROP TYPE ty", "cassandra:Drop ks/"},
		{"DROP TABLE t", "cassandra:Drop ks/table/t"},
		{"DROP KEYSPACE ks", "cassandra:Drop ks/"},
	} {
		b.rules.asked = nil
		b.must(c.text)
		var got []string
		for _, p := range b.rules.asked {
			got = append(got, p.Action+" "+strings.TrimPrefix(p.Resource, root))
		}
		if g := strings.Join(got, ", "); g != c.want {
			t.Errorf("%s needs %s, want %s", c.text, g, c.want)
		}
	}
}

// TestTagKeys: the condition keys of tags that a statement gives or takes, and
// of those that its keyspace or table has.
func TestTagKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, c := range []struct{ text, want string }{
		{"CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'} AND TAGS = {'Team': 'b'}", "map[aws:requesttag/team:[b] aws:tagkeys:[Team]]"},
		{"USE ks", ""},
		{"CREATE TABLE t (p int PRIMARY KEY, v int)", "map[]"},
		{"SELECT * FROM t", "map[]"},
		{"ALTER TABLE t ADD TAGS {'x': 'y', 'A': 'z'}", "map[aws:requesttag/a:[z] aws:requesttag/x:[y] aws:tagkeys:[A x]]"},
		{"SELECT * FROM t", "map[aws:resourcetag/a:[z] aws:resourcetag/x:[y]]"},
		{"BEGIN BATCH INSERT INTO t (p) VALUES (1); APPLY BATCH", "map[aws:resourcetag/a:[z] aws:resourcetag/x:[y]]"},
		{"ALTER TABLE t DROP TAGS {'A': 'z'}", "map[aws:requesttag/a:[z] aws:resourcetag/a:[z] aws:resourcetag/x:[y] aws:tagkeys:[A]]"},
		{"ALTER TABLE t ADD w int", "map[aws:resourcetag/x:[y]]"},
		{"ALTER KEYSPACE ks ADD TAGS {'x': 'y'}", "map[aws:requesttag/x:[y] aws:resourcetag/team:[b] aws:tagkeys:[x]]"},
		{"CREATE TYPE ty (a int)", "map[aws:resourcetag/team:[b] aws:resourcetag/x:[y]]"},
	} {
		b.rules.asked = nil
		b.must(c.text)
		got := ""
		for _, p := range b.rules.asked {
			got = fmt.Sprint(p.Context)
		}
		if got != c.want {
			t.Errorf("%s: the keys are %s, want %s", c.text, got, c.want)
		}
	}
}
