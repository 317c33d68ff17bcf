package doors

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"spoor/test/harness"
)

// connect opens a CQL session of one connection.
func (w *world) connect(t *testing.T, p harness.Profile) *gocql.Session {
	t.Helper()
	conf := must[*gocql.ClusterConfig](t)(w.srv.Cluster(p))
	s := must[*gocql.Session](t)(conf.CreateSession())
	t.Cleanup(s.Close)
	return s
}

// unauthorized checks a CQL answer and expects the record of the event.
func (w *world) unauthorized(t *testing.T, door string, err error, user, event, action string) {
	t.Helper()
	var e gocql.RequestError
	if !errors.As(err, &e) || e.Code() != gocql.ErrCodeUnauthorized || !strings.Contains(e.Message(), "is not authorized") || !strings.Contains(e.Message(), action) {
		t.Errorf("%s: %v, want Unauthorized for %s", door, err, action)
		return
	}
	w.expect(denial{door: door, user: user, event: event})
}

func (w *world) cql(t *testing.T) {
	ctx := t.Context()
	table := func(name string) string { return w.arn("cassandra", "/keyspace/doors/table/"+name) }
	system := allow("cassandra:Select", "arn:aws:cassandra:*:*:/keyspace/system/*", "arn:aws:cassandra:*:*:/keyspace/system_schema/*")
	root := w.connect(t, w.srv.Profiles["admin"])
	exec := func(s *gocql.Session, text string, args ...any) error { return s.Query(text, args...).ExecContext(ctx) }
	for _, text := range []string{"CREATE KEYSPACE doors WITH REPLICATION = {'class': 'SingleRegionStrategy'}",
		"CREATE TABLE doors.a (k text PRIMARY KEY, v int)", "CREATE TABLE doors.b (k text PRIMARY KEY, v int)", "INSERT INTO doors.a (k, v) VALUES ('x', 1)"} {
		if err := exec(root, text); err != nil {
			t.Fatal(err)
		}
	}
	reader := w.user(t, "cqlreader", system, allow("cassandra:Select", table("a")))
	s := w.connect(t, reader)
	const selectA = "SELECT v FROM doors.a WHERE k = ?"
	if err := exec(s, selectA, "x"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ text, event, action string }{
		{"SELECT v FROM doors.b WHERE k = 'x'", "Select", "cassandra:Select"},
		{"INSERT INTO doors.a (k, v) VALUES ('y', 2)", "Insert", "cassandra:Modify"},
		{"UPDATE doors.a SET v = 2 WHERE k = 'x'", "Update", "cassandra:Modify"},
		{"DELETE FROM doors.a WHERE k = 'x'", "Delete", "cassandra:Modify"},
		{"SELECT * FROM system_schema_mcs.tables", "Select", "cassandra:Select"},
		{"CREATE KEYSPACE mine WITH REPLICATION = {'class': 'SingleRegionStrategy'}", "CreateKeyspace", "cassandra:Create"},
		{"CREATE TABLE doors.c (k text PRIMARY KEY)", "CreateTable", "cassandra:Create"},
		{"ALTER TABLE doors.a ADD w int", "AlterTable", "cassandra:Alter"},
		{"DROP TABLE doors.a", "DropTable", "cassandra:Drop"},
		{"DROP KEYSPACE doors", "DropKeyspace", "cassandra:Drop"},
	} {
		w.unauthorized(t, tc.text, exec(s, tc.text), "cqlreader", tc.event, tc.action)
	}
	w.unauthorized(t, "PREPARE", exec(s, "SELECT v FROM doors.b WHERE k = ?", "x"), "cqlreader", "Select", "cassandra:Select")
	w.policy(t, "cqlreader", system)
	w.unauthorized(t, "EXECUTE of what was prepared before the policy changed", exec(s, selectA, "x"), "cqlreader", "Select", "cassandra:Select")
	w.policy(t, "cqlreader", system, allow("cassandra:Select", table("a")))
	if err := exec(s, selectA, "x"); err != nil {
		t.Errorf("granted again: %v", err)
	}

	writer := w.connect(t, w.user(t, "cqlwriter", system, allow("cassandra:Modify", table("a"))))
	batch := writer.Batch(gocql.LoggedBatch)
	batch.Query("INSERT INTO doors.a (k, v) VALUES ('batch', 1)")
	batch.Query("INSERT INTO doors.b (k, v) VALUES ('batch', 1)")
	w.unauthorized(t, "BATCH", batch.ExecContext(ctx), "cqlwriter", "Insert", "cassandra:Modify")
	var v int
	if err := root.Query("SELECT v FROM doors.a WHERE k = 'batch'").ScanContext(ctx, &v); !errors.Is(err, gocql.ErrNotFound) {
		t.Errorf("a denied batch left its first row: %v", err)
	}
	w.unauthorized(t, "BATCH in a statement", exec(writer, "BEGIN BATCH INSERT INTO doors.a (k, v) VALUES ('batch', 1); DELETE FROM doors.b WHERE k = 'x'; APPLY BATCH"), "cqlwriter", "Insert", "cassandra:Modify")
	if err := exec(writer, "INSERT INTO doors.a (k, v) VALUES ('z', 1)"); err != nil {
		t.Error(err)
	}
	for _, tc := range []struct{ text, event string }{{"INSERT INTO doors.a (k, v) VALUES ('x', 2) IF NOT EXISTS", "Insert"},
		{"UPDATE doors.a SET v = 3 WHERE k = 'x' IF v = 7", "Update"}, {"DELETE FROM doors.a WHERE k = 'x' IF EXISTS", "Delete"}} {
		w.unauthorized(t, tc.text, exec(writer, tc.text), "cqlwriter", tc.event, "cassandra:Select")
	}

	// The connection stays open and its password ends.
	ids := must[*iam.ListServiceSpecificCredentialsOutput](t)(w.admin.IAM.ListServiceSpecificCredentials(ctx, &iam.ListServiceSpecificCredentialsInput{UserName: aws.String("cqlreader")}))
	id := ids.ServiceSpecificCredentials[0].ServiceSpecificCredentialId
	status := func(s string) {
		must[*iam.UpdateServiceSpecificCredentialOutput](t)(w.admin.IAM.UpdateServiceSpecificCredential(ctx,
			&iam.UpdateServiceSpecificCredentialInput{UserName: aws.String("cqlreader"), ServiceSpecificCredentialId: id, Status: "Inactive"}))
	}
	status("Inactive")
	w.unauthorized(t, "a password made inactive", exec(s, selectA, "x"), "cqlreader", "Select", "invalid")
	must[*iam.DeleteServiceSpecificCredentialOutput](t)(w.admin.IAM.DeleteServiceSpecificCredential(ctx,
		&iam.DeleteServiceSpecificCredentialInput{UserName: aws.String("cqlreader"), ServiceSpecificCredentialId: id}))
	w.unauthorized(t, "a password deleted", exec(s, selectA, "x"), "cqlreader", "Select", "invalid")
	conf := must[*gocql.ClusterConfig](t)(w.srv.Cluster(reader))
	if again, err := conf.CreateSession(); err == nil {
		again.Close()
		t.Error("a deleted password logs in")
	}
}

// query runs a statement and returns its end.
func query(t *testing.T, c harness.Clients, text string) (*types.QueryExecution, error) {
	t.Helper()
	ctx := t.Context()
	out, err := c.Athena.StartQueryExecution(ctx, &athena.StartQueryExecutionInput{QueryString: &text, ClientRequestToken: aws.String(rand.Text() + rand.Text()),
		ResultConfiguration: &types.ResultConfiguration{OutputLocation: aws.String("s3://" + bucket + "/results/")}})
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := c.Athena.GetQueryExecution(ctx, &athena.GetQueryExecutionInput{QueryExecutionId: out.QueryExecutionId})
		if err != nil {
			return nil, err
		}
		switch q := got.QueryExecution; q.Status.State {
		case types.QueryExecutionStateQueued, types.QueryExecutionStateRunning:
		default:
			return q, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
}

func (w *world) athena(t *testing.T) {
	ctx := t.Context()
	succeed := func(text string) *types.QueryExecution {
		t.Helper()
		q := must[*types.QueryExecution](t)(query(t, w.admin, text))
		if q.Status.State != types.QueryExecutionStateSucceeded {
			t.Fatalf("%s: %s", text, aws.ToString(q.Status.StateChangeReason))
		}
		return q
	}
	succeed("CREATE DATABASE doors")
	succeed("CREATE EXTERNAL TABLE doors.t (a string) ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' LOCATION 's3://" + bucket + "/table/'")
	done := succeed("SELECT a FROM doors.t")
	for _, tc := range []struct {
		user, action, resource, text, event, reason string
	}{
		{"q1", "glue:GetTable", "*", "SELECT a FROM doors.t", "GetTable", "Insufficient permissions to execute the query."},
		{"q2", "glue:GetTable", w.arn("glue", "table/doors/t"), "SELECT count(*) FROM doors.t WHERE a = '1'", "GetTable", "table/doors/t"},
		{"q3", "s3:GetObject", object("table/*"), "SELECT a FROM doors.t LIMIT 1", "GetObject", "PERMISSION_DENIED"},
		{"q4", "s3:ListBucket", bucketARN, "SELECT a FROM doors.t LIMIT 2", "ListObjects", "PERMISSION_DENIED"},
		{"q5", "s3:PutObject", object("results/*"), "SELECT 5", "PutObject", "Access denied when writing output"},
		{"q6", "s3:GetBucketLocation", bucketARN, "SELECT 6", "GetBucketLocation", "Access denied when writing output"},
		{"q7", "glue:GetTables", "*", "SHOW TABLES IN doors", "GetTables", "Insufficient permissions"},
		{"q8", "glue:GetDatabases", "*", "SHOW DATABASES", "GetDatabases", "Insufficient permissions"},
		{"q9", "glue:GetTable", "*", "DESCRIBE doors.t", "GetTable", "Insufficient permissions"},
		{"q10", "glue:GetTable", "*", "SHOW CREATE TABLE doors.t", "GetTable", "Insufficient permissions"},
		{"q11", "glue:CreateTable", "*", "CREATE EXTERNAL TABLE doors.u (a int) LOCATION 's3://" + bucket + "/u/'", "CreateTable", "Insufficient permissions"},
		{"q12", "glue:DeleteTable", "*", "DROP TABLE doors.t", "DeleteTable", "Insufficient permissions"},
		{"q13", "glue:CreateDatabase", "*", "CREATE DATABASE more", "CreateDatabase", "Insufficient permissions"},
		{"q14", "glue:DeleteDatabase", "*", "DROP DATABASE doors CASCADE", "DeleteDatabase", "Insufficient permissions"},
	} {
		c := w.srv.AWS(w.user(t, tc.user, allow("*", "*"), deny(tc.action, tc.resource)))
		q, err := query(t, c, tc.text)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if reason := aws.ToString(q.Status.StateChangeReason); q.Status.State != types.QueryExecutionStateFailed || !strings.Contains(reason, tc.reason) {
			t.Errorf("%s without %s: %s %q", tc.text, tc.action, q.Status.State, reason)
		}
		w.expect(denial{door: "Athena: " + tc.text, user: tc.user, event: tc.event})
	}
	// What is granted only by way of Athena is granted to a query and its result.
	via := w.srv.AWS(w.user(t, "viaathena", allow("athena:*", "*"), allow("s3:* glue:*", "*").when("StringEquals", "aws:CalledVia", "athena.amazonaws.com")))
	q := must[*types.QueryExecution](t)(query(t, via, "SELECT a FROM doors.t -- via"))
	if q.Status.State != types.QueryExecutionStateSucceeded {
		t.Errorf("by way of Athena: %s", aws.ToString(q.Status.StateChangeReason))
	}
	must[*athena.GetQueryResultsOutput](t)(via.Athena.GetQueryResults(ctx, &athena.GetQueryResultsInput{QueryExecutionId: q.QueryExecutionId}))
	w.denied(t, w.tryGet(ctx, via, "table/f.csv"), "s3:GetObject", object("table/f.csv"), noIdentity)

	// Another's query: its work group, and the object of its result.
	results := func(c harness.Clients) error {
		_, err := c.Athena.GetQueryResults(ctx, &athena.GetQueryResultsInput{QueryExecutionId: done.QueryExecutionId})
		return err
	}
	elsewhere := w.srv.AWS(w.user(t, "elsewhere", allow("athena:*", w.arn("athena", "workgroup/other")), allow("s3:*", "*")))
	w.denied(t, results(elsewhere), "athena:GetQueryResults", w.arn("athena", "workgroup/primary"), noIdentity)
	_, err := elsewhere.Athena.GetQueryExecution(ctx, &athena.GetQueryExecutionInput{QueryExecutionId: done.QueryExecutionId})
	w.denied(t, err, "athena:GetQueryExecution", w.arn("athena", "workgroup/primary"), noIdentity)
	_, err = query(t, elsewhere, "SELECT 1")
	w.denied(t, err, "athena:StartQueryExecution", w.arn("athena", "workgroup/primary"), noIdentity)
	_, err = elsewhere.Athena.StopQueryExecution(ctx, &athena.StopQueryExecutionInput{QueryExecutionId: done.QueryExecutionId})
	w.denied(t, err, "athena:StopQueryExecution", w.arn("athena", "workgroup/primary"), noIdentity)
	w.denied(t, results(w.srv.AWS(w.user(t, "noobject", allow("athena:*", "*")))), "s3:GetObject", object("results/"), noIdentity)
	_, err = w.srv.AWS(w.user(t, "noglue", allow("athena:*", "*"))).Athena.GetTableMetadata(ctx,
		&athena.GetTableMetadataInput{CatalogName: aws.String("AwsDataCatalog"), DatabaseName: aws.String("doors"), TableName: aws.String("t")})
	w.denied(t, err, "glue:GetTable", w.arn("glue", "catalog"), noIdentity)
}
