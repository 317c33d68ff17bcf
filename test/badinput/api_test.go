package badinput

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	athenatypes "github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	spoor "spoor/internal/aws"
	"spoor/internal/engine/pebble"
	"spoor/internal/iam"
	"spoor/internal/kv"
	"spoor/internal/seal"
	"spoor/test/harness"
)

var (
	form    = map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
	json11  = target("AmazonAthena.ListWorkGroups")
	start11 = target("AmazonAthena.StartQueryExecution")
)

func target(t string) map[string]string {
	return map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": t}
}

// maxBody is the API's limit on a body.
const maxBody = 4 << 20

type apiCase struct {
	name string
	spec
	status   int
	code     string
	message  string // a pattern, "" for any
	recorded string // errorCode of the record, "" for none
}

func (s *suite) runAPI(t *testing.T, tests []apiCase) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := s.do(t, tt.spec)
			if a.status != tt.status || a.code != tt.code || !regexp.MustCompile(tt.message).MatchString(a.message) {
				t.Errorf("got %d %s %q; want %d %s %s", a.status, a.code, shorten(a.message), tt.status, tt.code, tt.message)
				if a.code == "" {
					t.Logf("body: %s", shorten(a.raw))
				}
			}
			s.recorded(t, a, tt.recorded)
		})
	}
}

func (s *suite) testAPI(t *testing.T) {
	t.Run("bodies", func(t *testing.T) { t.Parallel(); s.testBodies(t) })
	t.Run("credentials", func(t *testing.T) { t.Parallel(); s.testCredentials(t) })
	t.Run("wire", func(t *testing.T) { t.Parallel(); s.testWire(t) })
}

// testBodies sends well-signed requests whose content is wrong.
func (s *suite) testBodies(t *testing.T) {
	const serialization = "SerializationException"
	query := func(body string) spec { return spec{service: "iam", region: "us-east-1", header: form, body: body} }
	athena := func(h map[string]string, body string) spec { return spec{service: "athena", header: h, body: body} }
	s.runAPI(t, []apiCase{
		{"half JSON", athena(start11, `{"QueryString":`), 400, serialization, "", serialization},
		{"no JSON", athena(start11, "\x00\x01\x02garbage"), 400, serialization, "", serialization},
		{"two values", athena(start11, `{}{}`), 400, serialization, "", serialization},
		{"an array", athena(start11, `[1]`), 400, serialization, "", serialization},
		{"deep JSON", athena(start11, `{"QueryString":`+strings.Repeat("[", 1<<20)), 400, serialization, "", serialization},
		{"deep objects", athena(start11, strings.Repeat(`{"a":`, 200_000)+"1"+strings.Repeat("}", 200_000)), 400, serialization, "", serialization},
		{"a number for a string", athena(start11, `{"QueryString":1}`), 400, serialization, "^NUMBER_VALUE can not be converted to a String$", serialization},
		{"a boolean for a string", athena(start11, `{"QueryString":true}`), 400, serialization, "^TRUE_VALUE can not be converted to a String$", serialization},
		{"a list for a string", athena(start11, `{"QueryString":["x"]}`), 400, serialization, "^Start of list found where not expected$", serialization},
		{"an object for a string", athena(start11, `{"QueryString":{}}`), 400, serialization, `^Start of structure or map found where not expected\.$`, serialization},
		{"a string for a number", athena(json11, `{"MaxResults":"x"}`), 400, serialization, "^STRING_VALUE can not be converted to an Integer$", serialization},
		{"a string for a list", athena(start11, `{"QueryString":"x","ExecutionParameters":"y"}`), 400, serialization, "^Expected list or null$", serialization},
		{"a number beyond its type", athena(json11, `{"MaxResults":99999999999999999999}`), 400, serialization, "", serialization},
		{"a missing member", athena(start11, `{}`), 400, "InvalidRequestException", "", "InvalidRequestException"},
		{"an unknown operation", athena(target("AmazonAthena.Nonsense"), `{}`), 400, "UnknownOperationException", "", ""},
		{"an unknown service", athena(target("Nonsense_20200101.Op"), `{}`), 400, "UnknownOperationException", "", ""},
		{"a target without a dot", athena(target("Nonsense"), `{}`), 400, "UnknownOperationException", "", ""},
		{"no target", athena(map[string]string{"Content-Type": "application/x-amz-json-1.1"}, `{}`), 400, "UnknownOperationException", "", ""},
		{"a long target", athena(target("AmazonAthena."+strings.Repeat("x", 30_000)), `{}`), 400, "UnknownOperationException", "", ""},
		{"an unknown action", query("Action=Nonsense&Version=2010-05-08"), 400, "InvalidAction", "^Could not find operation Nonsense for version 2010-05-08$", ""},
		{"no action", query("Version=2010-05-08"), 400, "MissingAction", "", ""},
		{"an empty form", query(""), 400, "MissingAction", "", ""},
		{"a broken form", query("Action=CreateUser&UserName=%zz"), 400, "MalformedQueryString", "", ""},
		{"an endless list", query("Action=CreateUser&UserName=x&Tags.member.999999999.Key=a"), 400, "MalformedQueryString", "", "MalformedQueryString"},
		{"a value that is also a structure", query("Action=CreateUser&UserName=x&UserName.a=y"), 400, "MalformedQueryString", "", "MalformedQueryString"},
		{"a deep name", query("Action=CreateUser&UserName=x&" + strings.Repeat("a.", 10_000) + "a=1"), 400, "MalformedQueryString", "", "MalformedQueryString"},
		{"a hundred thousand parameters", query("Action=CreateUser&UserName=x" + manyParameters()), 400, "MalformedQueryString", "", ""},
		{"a policy that is no JSON", query("Action=PutUserPolicy&Version=2010-05-08&UserName=admin&PolicyName=p&PolicyDocument=" + url.QueryEscape(`{"Version":`)), 400, "MalformedPolicyDocument", "", "MalformedPolicyDocument"},
		{"a deep policy", query("Action=PutUserPolicy&Version=2010-05-08&UserName=admin&PolicyName=p&PolicyDocument=" + url.QueryEscape(strings.Repeat("[", 1500))), 400, "MalformedPolicyDocument", "", "MalformedPolicyDocument"},
		{"a body over the limit", athena(start11, `{"QueryString":"`+strings.Repeat("x", maxBody)+`"}`), 413, "RequestEntityTooLargeException", "", ""},
		{"a chunked body over the limit", func() spec {
			sp := athena(start11, strings.Repeat(" ", maxBody+1))
			sp.after = func(r *http.Request) { r.ContentLength = -1 }
			return sp
		}(), 413, "RequestEntityTooLargeException", "", ""},
	})
}

func manyParameters() string {
	var b strings.Builder
	for i := range 100_000 {
		b.WriteString("&a" + strconv.Itoa(i) + "=1")
	}
	return b.String()
}

// testCredentials sends requests whose signature or credential is wrong. A
// caller whose key exists is recorded, as claimed.
func (s *suite) testCredentials(t *testing.T) {
	wrong, unknown := s.admin, s.admin
	wrong.SecretAccessKey = strings.Repeat("x", 40)
	unknown.AccessKeyID = "AKIAIOSFODNN7EXAMPLE"
	forged := harness.Profile{AccessKeyID: "ASIA" + s.admin.AccessKeyID[4:], SecretAccessKey: "x", SessionToken: "Rm9yZ2Vk"}
	athena := func(sp spec) spec {
		sp.service, sp.header, sp.body = "athena", json11, "{}"
		return sp
	}
	identity := func(sp spec) spec {
		sp.service, sp.header, sp.body = "sts", form, "Action=GetCallerIdentity&Version=2011-06-15"
		return sp
	}
	authorization := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", v) }
	}
	now := time.Now()
	const mismatch = "^The request signature we calculated does not match the signature you provided\\."
	s.runAPI(t, []apiCase{
		{"a wrong secret", athena(spec{profile: &wrong}), 400, "InvalidSignatureException", mismatch, "InvalidSignatureException"},
		{"a wrong secret, query", identity(spec{profile: &wrong}), 403, "SignatureDoesNotMatch", mismatch, "SignatureDoesNotMatch"},
		{"a changed body", athena(spec{payload: strings.Repeat("0", 64)}), 400, "InvalidSignatureException", mismatch, "InvalidSignatureException"},
		{"an unknown key", athena(spec{profile: &unknown}), 400, "UnrecognizedClientException", `^The security token included in the request is invalid\.?$`, ""},
		{"an unknown key, query", identity(spec{profile: &unknown}), 403, "InvalidClientTokenId", `^The security token included in the request is invalid\.?$`, ""},
		{"a forged token", athena(spec{profile: &forged}), 400, "UnrecognizedClientException", `^The security token included in the request is invalid\.?$`, ""},
		{"a forged token, query", identity(spec{profile: &forged}), 403, "InvalidClientTokenId", `^The security token included in the request is invalid\.?$`, ""},
		{"a late clock", athena(spec{at: now.Add(-time.Hour)}), 400, "InvalidSignatureException", `^Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 5 min\.\)$`, "InvalidSignatureException"},
		{"an early clock", athena(spec{at: now.Add(time.Hour)}), 400, "InvalidSignatureException", `^Signature not yet current: \d{8}T\d{6}Z is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 5 min\.\)$`, "InvalidSignatureException"},
		{"a late clock, query", identity(spec{at: now.Add(-time.Hour)}), 403, "SignatureDoesNotMatch", "^Signature expired: ", "SignatureDoesNotMatch"},
		{"no signature", spec{header: json11, body: "{}"}, 400, "MissingAuthenticationTokenException", "^Missing Authentication Token$", ""},
		{"half an authorization", athena(spec{after: authorization("AWS4-HMAC-SHA256 Credential=" + s.admin.AccessKeyID)}), 400, "IncompleteSignatureException", ".", ""},
		{"another scheme", athena(spec{after: authorization("Bearer x")}), 400, "IncompleteSignatureException", ".", ""},
		{"garbage for an authorization", athena(spec{after: authorization("AWS4-HMAC-SHA256 ,,,===///" + strings.Repeat("=", 4000))}), 400, "IncompleteSignatureException", ".", ""},
		{"a signature for another region", identity(spec{region: "nowhere", profile: &wrong}), 403, "SignatureDoesNotMatch", ".", "SignatureDoesNotMatch"},
	})
}

// TestExpiredToken uses a session that was good an hour ago: it is made with
// the server's own key while the server is down.
func TestExpiredToken(t *testing.T) {
	t.Parallel()
	s := start(t)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	p := issueExpired(t, s.Server)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.records = s.watch(t)
	s.runAPI(t, []apiCase{
		{"json", spec{service: "athena", header: json11, body: "{}", profile: &p}, 400, "ExpiredTokenException", "^The security token included in the request is expired$", "ExpiredTokenException"},
		{"query", spec{service: "sts", header: form, body: "Action=GetCallerIdentity&Version=2011-06-15", profile: &p}, 403, "ExpiredToken", "^The security token included in the request is expired$", "ExpiredToken"},
		{"s3", spec{service: "s3", method: http.MethodGet, profile: &p}, 400, "ExpiredToken", `^The provided token has expired\.$`, "ExpiredToken"},
	})
}

func issueExpired(t *testing.T, srv *harness.Server) harness.Profile {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := kv.Open(filepath.Join(srv.Dir, "store"), kv.Options{CacheBytes: 1 << 20, Merger: pebble.Merger(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	sealer, err := seal.Load(filepath.Join(srv.Dir, "keys", "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := iam.Open(iam.Config{Store: store, Sealer: sealer, Log: log, Now: func() time.Time { return time.Now().Add(-time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	c, err := dir.Issue(iam.SessionRequest{Account: srv.Account, Type: spoor.Root, Duration: 15 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return harness.Profile{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
}

// testWire sends what is hardly HTTP.
func (s *suite) testWire(t *testing.T) {
	garbage := strings.Repeat("\xde\xad\xbe\xef", 64)
	head := "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonAthena.ListWorkGroups\r\n"
	tests := []struct {
		name, send string
		half       bool
		want       string // of all that is sent back
	}{
		{"garbage", garbage + "\r\n\r\n", true, `^HTTP/1\.1 400 `},
		{"TLS garbage", "\x16\x03\x01\x00\xc8" + garbage, true, `^(.{0,32})$`},
		{"half a TLS hello", "\x16\x03", true, `^(.{0,32})$`},
		{"nothing", "", true, `^$`},
		{"CQL", string(cqlFrame(5, 0, 0, nil)) + "\r\n\r\n", true, `^HTTP/1\.1 400 `},
		{"an unknown version", "GET / HTTP/9.9\r\n\r\n", true, `^HTTP/1\.1 505 `},
		{"headers without end", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 200), true, `^HTTP/1\.1 431 `},
		{"a negative length", head + "Content-Length: -1\r\n\r\n", true, `^HTTP/1\.1 400 `},
		{"two lengths", head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", true, `^HTTP/1\.1 400 `},
		{"a declared gigabyte", head + "Content-Length: 1073741824\r\n\r\n{}", false, `(?s)^HTTP/1\.1 413 .*RequestEntityTooLargeException`},
		{"less than declared", head + "Content-Length: 100\r\n\r\n{}", true, `(?s)^HTTP/1\.1 400 .*IncompleteBody`},
		{"more than declared", head + "Content-Length: 2\r\n\r\n{}garbage\r\n\r\n", true, `(?s)^HTTP/1\.1 400 .*MissingAuthenticationTokenException.*HTTP/1\.1 400 Bad Request`},
		{"broken chunks", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", true, `(?s)^HTTP/1\.1 400 .*IncompleteBody`},
		{"an endless chunk header", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1", 100_000), true, `(?s)^HTTP/1\.1 400 .*IncompleteBody`},
		{"chunks without end", head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", true, `(?s)^HTTP/1\.1 400 .*IncompleteBody`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out := raw(t, s.httpAddr(), []byte(tt.send), tt.half)
			if !regexp.MustCompile(tt.want).MatchString(out) {
				t.Errorf("got %q, want %s", shorten(out), tt.want)
			}
		})
	}
}

// testAthena sends SQL that does not parse. Athena refuses it in
// StartQueryExecution, and records that.
func (s *suite) testAthena(t *testing.T) {
	c := s.AWS(s.admin)
	if _, err := c.S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bad-sql")}); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, sql, want string }{
		{"a misspelt keyword", "SELEC 1", `^line 1:1: mismatched input 'SELEC'`},
		{"half", "SELECT * FROM", `^line 1:14: mismatched input '<EOF>'`},
		{"two statements", "SELECT 1; SELECT 2", `^Only one sql statement is allowed\.`},
		{"an open string", "SELECT 'x", `^line 1:`},
		{"NUL bytes", "SELECT \x00", `^line 1:8: `},
		{"parentheses", "SELECT " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000), `.`},
		{"minus signs", "SELECT " + strings.Repeat("- ", 100_000) + "1", `.`},
		{"NOT", "SELECT " + strings.Repeat("NOT ", 60_000) + "true", `.`},
		{"CASE", "SELECT " + strings.Repeat("CASE WHEN ", 20_000), `.`},
		{"subqueries", strings.Repeat("SELECT * FROM (", 15_000) + "SELECT 1" + strings.Repeat(")", 15_000), `.`},
		{"array types", "SELECT CAST(NULL AS " + strings.Repeat("array(", 30_000) + "int" + strings.Repeat(")", 30_000) + ")", `.`},
		{"a wrong type in DDL", "CREATE EXTERNAL TABLE t (a " + strings.Repeat("array<", 40_000) + "int LOCATION 's3://bad-sql/'", `.`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(map[string]any{"QueryString": tt.sql, "ClientRequestToken": strings.Repeat("t", 32) + tt.name,
				"ResultConfiguration": map[string]string{"OutputLocation": "s3://bad-sql/"}})
			if err != nil {
				t.Fatal(err)
			}
			a := s.do(t, spec{service: "athena", header: start11, body: string(body)})
			if a.status != 400 || a.code != "InvalidRequestException" || !regexp.MustCompile(tt.want).MatchString(a.message) {
				t.Errorf("got %d %s; want InvalidRequestException %s", a.status, shorten(a.raw), tt.want)
			}
			if len(a.message) > 4096 {
				t.Errorf("the message has %d bytes", len(a.message))
			}
			s.recorded(t, a, "InvalidRequestException")
			e := s.records.find(t, tt.name, byRequest(a.requestID))
			if p, _ := e["requestParameters"].(map[string]any); p["queryString"] != "***OMITTED***" {
				t.Errorf("recorded with %v", e["requestParameters"])
			}
		})
	}
	// Well formed, long, and of every depth that may still be asked: answered in
	// one way or the other, and the engine lives on.
	for name, sql := range map[string]string{
		"a long list": "SELECT 1 WHERE 1 IN (" + strings.Repeat("1,", 100_000) + "1)",
		"a long sum":  "SELECT " + strings.Repeat("1+", 100_000) + "1",
		"a long AND":  "SELECT " + strings.Repeat("true AND ", 25_000) + "true",
		"a literal":   "SELECT '" + strings.Repeat("x", 250_000) + "'",
		"a number":    "SELECT " + strings.Repeat("9", 200_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.runSQL(t, sql)
			s.runSQL(t, "SELECT 1")
		})
	}
}

// runSQL runs a statement to its end, whatever that is; only SELECT 1 must
// succeed.
func (s *suite) runSQL(t *testing.T, sql string) {
	t.Helper()
	c := s.AWS(s.admin).Athena
	out, err := c.StartQueryExecution(t.Context(), &athena.StartQueryExecutionInput{QueryString: &sql,
		ResultConfiguration: &athenatypes.ResultConfiguration{OutputLocation: aws.String("s3://bad-sql/")}})
	if err != nil {
		if sql == "SELECT 1" || !strings.Contains(err.Error(), "InvalidRequestException") {
			t.Fatal(err)
		}
		return
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range int(patience / (50 * time.Millisecond)) {
		x, err := c.GetQueryExecution(t.Context(), &athena.GetQueryExecutionInput{QueryExecutionId: out.QueryExecutionId})
		if err != nil {
			t.Fatal(err)
		}
		switch st := x.QueryExecution.Status; st.State {
		case athenatypes.QueryExecutionStateSucceeded:
			return
		case athenatypes.QueryExecutionStateFailed, athenatypes.QueryExecutionStateCancelled:
			if sql == "SELECT 1" {
				t.Fatalf("SELECT 1: %s", aws.ToString(st.StateChangeReason))
			}
			t.Logf("failed: %s", shorten(aws.ToString(st.StateChangeReason)))
			return
		}
		<-tick.C
	}
	t.Fatalf("not done after %s", patience)
}
