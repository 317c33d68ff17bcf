package awshttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	athenatypes "github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// front is a handler over two services whose handlers a test sets.
type front struct {
	*httptest.Server
	jr       *journal.Journal
	athena   *athena.Client
	iam      *iam.Client
	onStart  func(c *call.Call, in *athena.StartQueryExecutionInput) (*athena.StartQueryExecutionOutput, error)
	onGet    func(in *athena.GetQueryExecutionInput) (*athena.GetQueryExecutionOutput, error)
	onUser   func(in *iam.CreateUserInput) (*iam.CreateUserOutput, error)
	onAccess func(in *iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error)
}

type noData struct{}

func (noData) Version() uint64             { return 0 }
func (noData) AnyData() bool               { return false }
func (noData) Selects(*record.Record) bool { return false }

type auth struct{}

func (auth) Authorize(_ context.Context, _ *call.Call, perms []call.Permission) error {
	for _, p := range perms {
		if strings.HasSuffix(p.Action, "StopQueryExecution") {
			return aws.NewError(aws.Denied, "AccessDenied", "denied")
		}
	}
	return nil
}

// Authenticate takes any signature but the one of the key "AKIAWRONG", and
// knows no key "AKIANOBODY".
func (auth) Authenticate(r *http.Request, _ []byte, _ string, _ bool) (*Identity, error) {
	a := r.Header.Get("Authorization")
	caller := &aws.Caller{Type: aws.Root, AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:root"}
	bad := aws.NewError(aws.Unauthenticated, "InvalidSignatureException", "The signature does not match.")
	switch {
	case a == "":
		return nil, &AuthError{Err: aws.NewError(aws.Unauthenticated, "MissingAuthenticationTokenException", "Missing Authentication Token")}
	case strings.Contains(a, "AKIAWRONG"):
		return nil, &AuthError{Err: bad, Claimed: &aws.Caller{Type: aws.Unknown, AccountID: "123456789012", AccessKeyID: "AKIAWRONG"}, Region: "eu-west-1"}
	case strings.Contains(a, "AKIANOBODY"):
		return nil, &AuthError{Err: bad}
	}
	return &Identity{Caller: caller, Region: "eu-west-1"}, nil
}

func newFront(t testing.TB, maxBody int64) *front {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	store, err := kv.Open("store", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(store, log)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{jr: j}
	perm := func(action string) []call.Permission { return []call.Permission{{Action: action, Resource: "*"}} }
	services := []*call.Service{
		{Name: "athena", EventSource: "athena.amazonaws.com", Protocol: call.JSON11, TargetPrefixes: []string{"AmazonAthena"}, ErrorMessageKey: "Message",
			Operations: []call.Operation{
				call.Op("StartQueryExecution", func(*call.Call, *athena.StartQueryExecutionInput) ([]call.Permission, error) {
					return perm("athena:Start"), nil
				},
					func(_ context.Context, c *call.Call, in *athena.StartQueryExecutionInput) (*athena.StartQueryExecutionOutput, error) {
						return f.onStart(c, in)
					}, call.Omit("QueryString")),
				call.Op("GetQueryExecution", nil, func(_ context.Context, _ *call.Call, in *athena.GetQueryExecutionInput) (*athena.GetQueryExecutionOutput, error) {
					return f.onGet(in)
				}, call.ReadOnly),
				call.Op("StopQueryExecution", func(*call.Call, *athena.StopQueryExecutionInput) ([]call.Permission, error) {
					return perm("athena:StopQueryExecution"), nil
				}, func(context.Context, *call.Call, *athena.StopQueryExecutionInput) (*athena.StopQueryExecutionOutput, error) {
					return nil, errors.New("reached a denied operation")
				}),
			}},
		{Name: "iam", EventSource: "iam.amazonaws.com", Protocol: call.Query, XMLNamespace: "https://iam.amazonaws.com/doc/2010-05-08/", Global: true,
			Operations: []call.Operation{
				call.Op("CreateUser", nil, func(_ context.Context, _ *call.Call, in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
					return f.onUser(in)
				}),
				call.Op("CreateAccessKey", nil, func(_ context.Context, _ *call.Call, in *iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error) {
					return f.onAccess(in)
				}),
			}},
		{Name: "sts", EventSource: "sts.amazonaws.com", Protocol: call.Query},
	}
	h, err := NewHandler(Config{
		Path: &call.Path{Auth: auth{}, Selector: noData{}, Journal: j, Store: store, Now: time.Now, Log: log},
		Auth: auth{}, Services: services, S3: http.NotFoundHandler(), Log: log, Region: "us-east-1", Account: "123456789012", MaxBody: maxBody,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Server = httptest.NewServer(h)
	creds := credentials.NewStaticCredentialsProvider("AKIA", "secret", "")
	f.athena = athena.New(athena.Options{BaseEndpoint: &f.URL, Region: "eu-west-1", Credentials: creds, RetryMaxAttempts: 1})
	f.iam = iam.New(iam.Options{BaseEndpoint: &f.URL, Region: "eu-west-1", Credentials: creds, RetryMaxAttempts: 1})
	t.Cleanup(func() {
		f.Close()
		if err := errors.Join(j.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// last is the newest record, decoded.
func (f *front) last(t *testing.T) map[string]any {
	t.Helper()
	it, err := f.jr.Get(f.jr.Head())
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(it.JSON, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func ptr[T any](v T) *T { return &v }

// TestJSONRoundTrip sends an input through the SDK and compares what arrives,
// what comes back and what is recorded.
func TestJSONRoundTrip(t *testing.T) {
	t.Parallel()
	f := newFront(t, 0)
	in := &athena.StartQueryExecutionInput{
		QueryString: ptr("SELECT 'ä\n\"<secret>'"), ClientRequestToken: ptr(strings.Repeat("t", 32)),
		ExecutionParameters:   []string{"1", "x"},
		QueryExecutionContext: &athenatypes.QueryExecutionContext{Database: ptr("db")},
		ResultConfiguration: &athenatypes.ResultConfiguration{OutputLocation: ptr("s3://bucket/"),
			AclConfiguration: &athenatypes.AclConfiguration{S3AclOption: athenatypes.S3AclOptionBucketOwnerFullControl}},
		ResultReuseConfiguration: &athenatypes.ResultReuseConfiguration{ResultReuseByAgeConfiguration: &athenatypes.ResultReuseByAgeConfiguration{Enabled: true, MaxAgeInMinutes: ptr(int32(5))}},
	}
	var got *athena.StartQueryExecutionInput
	f.onStart = func(c *call.Call, in *athena.StartQueryExecutionInput) (*athena.StartQueryExecutionOutput, error) {
		got = in
		if c.Region != "eu-west-1" {
			t.Errorf("region %s", c.Region)
		}
		return &athena.StartQueryExecutionOutput{QueryExecutionId: ptr("id-1")}, nil
	}
	out, err := f.athena.StartQueryExecution(t.Context(), in)
	if err != nil || *out.QueryExecutionId != "id-1" {
		t.Fatalf("%v, %v", out, err)
	}
	if a, b := mustJSON(t, in), mustJSON(t, got); a != b {
		t.Errorf("sent %s\ngot  %s", a, b)
	}
	m := f.last(t)
	if d := cmp.Diff(map[string]any{
		"clientRequestToken": strings.Repeat("t", 32), "queryString": "***OMITTED***", "executionParameters": []any{"1", "x"},
		"queryExecutionContext":    map[string]any{"database": "db"},
		"resultConfiguration":      map[string]any{"outputLocation": "s3://bucket/", "aclConfiguration": map[string]any{"s3AclOption": "BUCKET_OWNER_FULL_CONTROL"}},
		"resultReuseConfiguration": map[string]any{"resultReuseByAgeConfiguration": map[string]any{"enabled": true, "maxAgeInMinutes": float64(5)}},
	}, m["requestParameters"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]any{"queryExecutionId": "id-1"}, m["responseElements"]); d != "" {
		t.Error(d)
	}

	when := time.UnixMilli(1700000000123).UTC()
	want := &athena.GetQueryExecutionOutput{QueryExecution: &athenatypes.QueryExecution{
		QueryExecutionId: ptr("id-1"), StatementType: athenatypes.StatementTypeDml,
		Status:     &athenatypes.QueryExecutionStatus{State: athenatypes.QueryExecutionStateSucceeded, SubmissionDateTime: &when},
		Statistics: &athenatypes.QueryExecutionStatistics{DataScannedInBytes: ptr(int64(1 << 40))},
	}}
	f.onGet = func(*athena.GetQueryExecutionInput) (*athena.GetQueryExecutionOutput, error) { return want, nil }
	read, err := f.athena.GetQueryExecution(t.Context(), &athena.GetQueryExecutionInput{QueryExecutionId: ptr("id-1")})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := mustJSON(t, want.QueryExecution), mustJSON(t, read.QueryExecution); a != b {
		t.Errorf("want %s\ngot  %s", a, b)
	}
	if m := f.last(t); m["responseElements"] != nil || m["readOnly"] != true {
		t.Errorf("a read is recorded as %v", m)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestQueryRoundTrip: lists, times and secrets through the query protocol.
func TestQueryRoundTrip(t *testing.T) {
	t.Parallel()
	f := newFront(t, 0)
	when := time.Unix(1700000000, 0).UTC()
	f.onUser = func(in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
		return &iam.CreateUserOutput{User: &iamtypes.User{UserName: in.UserName, Path: in.Path, Tags: in.Tags, CreateDate: &when,
			Arn: ptr("arn:aws:iam::1:user/<&>"), UserId: ptr("AIDA")}}, nil
	}
	in := &iam.CreateUserInput{UserName: ptr("alice"), Path: ptr("/a/"), Tags: []iamtypes.Tag{{Key: ptr("k1"), Value: ptr("v 1+")}, {Key: ptr("k2"), Value: ptr("")}}}
	out, err := f.iam.CreateUser(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := mustJSON(t, in.Tags), mustJSON(t, out.User.Tags); a != b || !out.User.CreateDate.Equal(when) || *out.User.Arn != "arn:aws:iam::1:user/<&>" {
		t.Errorf("sent tags %s, got %s of %v", a, b, mustJSON(t, out.User))
	}
	if m := f.last(t); m["awsRegion"] != aws.GlobalRegion {
		t.Errorf("a global service is recorded in %v", m["awsRegion"])
	}
	f.onAccess = func(*iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error) {
		return &iam.CreateAccessKeyOutput{AccessKey: &iamtypes.AccessKey{AccessKeyId: ptr("AKIANEW"), SecretAccessKey: ptr("very-secret")}}, nil
	}
	key, err := f.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{})
	if err != nil || *key.AccessKey.SecretAccessKey != "very-secret" {
		t.Fatalf("%v, %v", key, err)
	}
	if s := mustJSON(t, f.last(t)); strings.Contains(s, "very-secret") || !strings.Contains(s, "AKIANEW") {
		t.Errorf("the record shows %s", s)
	}
	f.onUser = func(*iam.CreateUserInput) (*iam.CreateUserOutput, error) {
		return nil, aws.NewError(aws.Conflict, "EntityAlreadyExists", "User with name alice already exists.")
	}
	_, err = f.iam.CreateUser(t.Context(), in)
	var exists *iamtypes.EntityAlreadyExistsException
	if !errors.As(err, &exists) || exists.ErrorMessage() != "User with name alice already exists." {
		t.Errorf("got %v", err)
	}
}

// TestErrors sends what is wrong and expects the protocol's error and, where a
// known identity made the call, a record.
func TestErrors(t *testing.T) {
	t.Parallel()
	const athenaTarget = "AmazonAthena.StartQueryExecution"
	tests := []struct {
		name, target, key, body string
		status                  int
		code                    string
		record                  string // errorCode of the record, "" for none
	}{
		{"no operation of AWS", "AmazonAthena.Nonsense", "AKIA", "{}", 400, "UnknownOperationException", ""},
		{"no service", "Nonsense.Op", "AKIA", "{}", 400, "UnknownOperationException", ""},
		{"no dot", "Nonsense", "AKIA", "{}", 400, "UnknownOperationException", ""},
		{"an operation not offered", "AmazonAthena.StartSession", "AKIA", "{}", 400, "UnsupportedOperationException", "UnsupportedOperationException"},
		{"broken JSON", athenaTarget, "AKIA", `{"QueryString":`, 400, "SerializationException", "SerializationException"},
		{"two values", athenaTarget, "AKIA", `{}{}`, 400, "SerializationException", "SerializationException"},
		{"an array", athenaTarget, "AKIA", `[]`, 400, "SerializationException", "SerializationException"},
		{"a number for a string", athenaTarget, "AKIA", `{"QueryString":1}`, 400, "SerializationException", "SerializationException"},
		{"too deep", athenaTarget, "AKIA", `{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, 400, "SerializationException", "SerializationException"},
		{"missing member", athenaTarget, "AKIA", `{}`, 400, "ValidationException", "ValidationException"},
		{"too long", athenaTarget, "AKIA", `{"QueryString":"` + strings.Repeat("x", 300_000) + `"}`, 400, "ValidationException", "ValidationException"},
		{"body over the limit", athenaTarget, "AKIA", strings.Repeat("x", 1<<20+1), 413, "RequestEntityTooLargeException", ""},
		{"wrong signature", athenaTarget, "AKIAWRONG", `{}`, 400, "InvalidSignatureException", "InvalidSignatureException"},
		{"unknown key", athenaTarget, "AKIANOBODY", `{}`, 400, "InvalidSignatureException", ""},
		{"unsigned", athenaTarget, "", `{}`, 400, "MissingAuthenticationTokenException", ""},
		{"denied", "AmazonAthena.StopQueryExecution", "AKIA", `{"QueryExecutionId":"x"}`, 400, "AccessDeniedException", "AccessDenied"},
		{"a fault inside", "AmazonAthena.GetQueryExecution", "AKIA", `{"QueryExecutionId":"x"}`, 500, "InternalFailure", "InternalFailure"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, 1<<20)
			f.onGet = func(*athena.GetQueryExecutionInput) (*athena.GetQueryExecutionOutput, error) {
				return nil, errors.New("path /very/private")
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Amz-Target", tt.target)
			if tt.key != "" {
				req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+tt.key+"/20200101/eu-west-1/athena/aws4_request, SignedHeaders=host, Signature=0")
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var body struct {
				Type string `json:"__type"`
			}
			raw, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw, &body); err != nil {
				t.Fatalf("%v: %s", err, raw)
			}
			if res.StatusCode != tt.status || body.Type != tt.code || res.Header.Get("x-amzn-RequestId") == "" {
				t.Errorf("got %d %s, want %d %s", res.StatusCode, raw, tt.status, tt.code)
			}
			if strings.Contains(string(raw), "private") {
				t.Errorf("the answer shows internals: %s", raw)
			}
			if tt.record == "" {
				if f.jr.Head() != 0 {
					t.Errorf("recorded: %v", f.last(t))
				}
				return
			}
			if f.jr.Head() != 1 || f.last(t)["errorCode"] != tt.record {
				t.Errorf("recorded %d, last %v; want %s", f.jr.Head(), f.last(t)["errorCode"], tt.record)
			}
		})
	}
}

// TestValidationMessage is AWS's wording, through a real client.
func TestValidationMessage(t *testing.T) {
	t.Parallel()
	f := newFront(t, 0)
	_, err := f.athena.StartQueryExecution(t.Context(), &athena.StartQueryExecutionInput{QueryString: ptr("x"), ClientRequestToken: ptr("short")})
	var api smithy.APIError
	want := "1 validation error detected: Value 'short' at 'clientRequestToken' failed to satisfy constraint: Member must have length greater than or equal to 32"
	if !errors.As(err, &api) || api.ErrorMessage() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL, strings.NewReader("Action=Nonsense&Version=2010-05-08"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20200101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	if !strings.Contains(string(raw), "<Code>InvalidAction</Code><Message>Could not find operation Nonsense for version 2010-05-08</Message>") {
		t.Errorf("got %s", raw)
	}
}

// TestNamesAreExact: a member that the model does not name to the letter is as
// if it were not there, so that none arrives that was not checked.
func TestNamesAreExact(t *testing.T) {
	t.Parallel()
	f := newFront(t, 0)
	var start *athena.StartQueryExecutionInput
	f.onStart = func(_ *call.Call, in *athena.StartQueryExecutionInput) (*athena.StartQueryExecutionOutput, error) {
		start = in
		return &athena.StartQueryExecutionOutput{}, nil
	}
	var user *iam.CreateUserInput
	f.onUser = func(in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
		user = in
		return &iam.CreateUserOutput{}, nil
	}
	post := func(service, target, body string) {
		t.Helper()
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20200101/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
		if target != "" {
			req.Header.Set("X-Amz-Target", target)
		}
		w := httptest.NewRecorder()
		f.Config.Handler.ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	post("athena", "AmazonAthena.StartQueryExecution", `{"QueryString":"SELECT 1","queryString":"SELECT 2","clientRequestToken":"short",
		"ResultConfiguration":{"outputLocation":"x","OutputLocation":"s3://b/"}}`)
	if d := cmp.Diff(`{"queryString":"SELECT 1","resultConfiguration":{"outputLocation":"s3://b/"}}`, string(recordObject(start, nil))); d != "" {
		t.Error(d)
	}
	post("iam", "", "Action=CreateUser&UserName=a&userName=b/c&Tags.member.1.Key=k&Tags.member.1.key=&Tags.member.1.Value=v")
	if d := cmp.Diff(`{"userName":"a","tags":[{"key":"k","value":"v"}]}`, string(recordObject(user, nil))); d != "" {
		t.Error(d)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"QueryString":"x","ResultReuseConfiguration":{"ResultReuseByAgeConfiguration":{"Enabled":true}}}`), false)
	f.Add([]byte("Action=CreateUser&UserName=a&Tags.member.1.Key=k&Tags.member.1.Value=v"), true)
	f.Add([]byte("Tags.member.1=x&Tags.member.1.Key=y&Tags=&a.entry.1.key=k"), true)
	fr := newFront(f, 0)
	h := map[bool]string{false: "athena/aws4_request", true: "iam/aws4_request"}
	fr.onStart = func(*call.Call, *athena.StartQueryExecutionInput) (*athena.StartQueryExecutionOutput, error) {
		return &athena.StartQueryExecutionOutput{}, nil
	}
	fr.onUser = func(*iam.CreateUserInput) (*iam.CreateUserOutput, error) { return &iam.CreateUserOutput{}, nil }
	f.Fuzz(func(t *testing.T, body []byte, query bool) {
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body)))
		req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=AKIA/20200101/us-east-1/%s, SignedHeaders=host, Signature=0", h[query]))
		if !query {
			req.Header.Set("X-Amz-Target", "AmazonAthena.StartQueryExecution")
		}
		w := httptest.NewRecorder()
		fr.Config.Handler.ServeHTTP(w, req)
		if w.Code >= 500 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
