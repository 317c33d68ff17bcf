package record

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"spoor/internal/aws"
)

func user() *aws.Caller {
	return &aws.Caller{Type: aws.IAMUser, AccountID: "111122223333", PrincipalID: "AIDAEXAMPLE",
		ARN: "arn:aws:iam::111122223333:user/alice", UserName: "alice", AccessKeyID: "AKIAEXAMPLE"}
}

func session() *aws.Caller {
	return &aws.Caller{Type: aws.AssumedRole, AccountID: "111122223333", PrincipalID: "AROAEXAMPLE:al\"ice",
		ARN: "arn:aws:sts::111122223333:assumed-role/users/al\"ice", AccessKeyID: "ASIAEXAMPLE",
		Session: &aws.Session{Name: "al\"ice", CreationDate: time.Unix(1579114076, 0), IssuerType: "Role",
			IssuerPrincipalID: "AROAEXAMPLE", IssuerARN: "arn:aws:iam::111122223333:role/Admin",
			IssuerAccountID: "111122223333", IssuerUserName: "Admin", SourceIdentity: "bob"}}
}

func decode(t *testing.T, js []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(js, &m); err != nil {
		t.Fatalf("the record is not JSON: %v\n%s", err, js)
	}
	return m
}

func TestEntry(t *testing.T) {
	t.Parallel()
	r := Record{
		Category: Data, ReadOnly: true, Caller: user(), EventTime: time.Unix(1700217484, 5e8),
		EventSource: "cassandra.amazonaws.com", EventName: "Select", EventID: "e00552d3", RequestID: "6d83bbf0",
		Region: "us-east-1", AccountID: "111122223333", SourceIP: "10.24.34.1", UserAgent: "Cassandra Client/ProtocolV4",
		APIVersion: "3.4.4", RequestParameters: []byte(`{"keyspaceName":"my_keyspace"}`),
		Resources: []Resource{
			{Type: "AWS::Cassandra::Table", ARN: "arn:one", AccountID: "111122223333"},
			{Type: "AWS::S3::Object", ARN: "arn:\"two\"", AccountID: "111122223333"},
			{Type: "AWS::S3::Bucket", ARN: "arn:three", AccountID: "111122223333"},
		},
		TLS: &TLS{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", Host: "cassandra.us-east-1.amazonaws.com"},
	}
	data, _ := r.AppendEntry([]byte("before"), nil)
	e, err := DecodeEntry(data[len("before"):])
	if err != nil {
		t.Fatal(err)
	}
	if e.Category != Data || !e.ReadOnly || !e.Time.Equal(r.EventTime) {
		t.Errorf("entry says %v, %v, %v", e.Category, e.ReadOnly, e.Time)
	}
	want := map[Field]string{
		FieldEventID: "e00552d3", FieldEventName: "Select", FieldEventSource: "cassandra.amazonaws.com",
		FieldRegion: "us-east-1", FieldAccount: "111122223333", FieldUserARN: "arn:aws:iam::111122223333:user/alice",
		FieldUserName: "alice", FieldAccessKey: "AKIAEXAMPLE", FieldErrorCode: "", FieldEventType: "AwsApiCall",
	}
	for f, w := range want {
		if got := e.Field(f); got != w {
			t.Errorf("field %d is %q, want %q", f, got, w)
		}
	}
	var res []string
	e.Resources(func(typ, arn string) { res = append(res, typ+" "+arn) })
	if d := cmp.Diff([]string{"AWS::Cassandra::Table arn:one", "AWS::S3::Object arn:\"two\"", "AWS::S3::Bucket arn:three"}, res); d != "" {
		t.Error(d)
	}
	got := decode(t, e.JSON)
	wantJSON := decode(t, []byte(`{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","principalId":"AIDAEXAMPLE",
		"arn":"arn:aws:iam::111122223333:user/alice","accountId":"111122223333","accessKeyId":"AKIAEXAMPLE","userName":"alice"},
		"eventTime":"2023-11-17T10:38:04Z","eventSource":"cassandra.amazonaws.com","eventName":"Select","awsRegion":"us-east-1",
		"sourceIPAddress":"10.24.34.1","userAgent":"Cassandra Client/ProtocolV4","requestParameters":{"keyspaceName":"my_keyspace"},
		"responseElements":null,"requestID":"6d83bbf0","eventID":"e00552d3","readOnly":true,
		"resources":[{"accountId":"111122223333","type":"AWS::Cassandra::Table","ARN":"arn:one"},
		{"accountId":"111122223333","type":"AWS::S3::Object","ARN":"arn:\"two\""},
		{"accountId":"111122223333","type":"AWS::S3::Bucket","ARN":"arn:three"}],
		"eventType":"AwsApiCall","apiVersion":"3.4.4","managementEvent":false,"recipientAccountId":"111122223333","eventCategory":"Data",
		"tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"cassandra.us-east-1.amazonaws.com"}}`))
	if d := cmp.Diff(wantJSON, got); d != "" {
		t.Error(d)
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		caller   *aws.Caller
		want     string
		userName string
	}{
		{"root", &aws.Caller{Type: aws.Root, AccountID: "1", PrincipalID: "1", ARN: "arn:aws:iam::1:root", AccessKeyID: "AKIA"},
			`{"type":"Root","principalId":"1","arn":"arn:aws:iam::1:root","accountId":"1","accessKeyId":"AKIA"}`, ""},
		{"role session", session(), `{"type":"AssumedRole","principalId":"AROAEXAMPLE:al\"ice","arn":"arn:aws:sts::111122223333:assumed-role/users/al\"ice",
			"accountId":"111122223333","accessKeyId":"ASIAEXAMPLE","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE",
			"arn":"arn:aws:iam::111122223333:role/Admin","accountId":"111122223333","userName":"Admin"},"webIdFederationData":{},
			"attributes":{"mfaAuthenticated":"false","creationDate":"2020-01-15T18:47:56Z"},"sourceIdentity":"bob"}}`, "al\"ice"},
		{"anonymous", aws.AnonymousCaller(), `{"type":"AWSAccount","principalId":"","accountId":"anonymous"}`, ""},
		{"claimed", &aws.Caller{Type: aws.Unknown, AccountID: "1", AccessKeyID: "AKIA", UserName: "eve"},
			`{"type":"Unknown","principalId":"","accountId":"1","accessKeyId":"AKIA","userName":"eve"}`, "eve"},
		{"service", &aws.Caller{Type: aws.AWSService, InvokedBy: "cloudtrail.amazonaws.com"},
			`{"type":"AWSService","invokedBy":"cloudtrail.amazonaws.com"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := Record{Caller: tt.caller, EventID: "id"}
			data, _ := r.AppendEntry(nil, nil)
			e, err := DecodeEntry(data)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(decode(t, []byte(tt.want)), decode(t, e.JSON)["userIdentity"]); d != "" {
				t.Error(d)
			}
			if got := e.Field(FieldUserName); got != tt.userName {
				t.Errorf("user name %q, want %q", got, tt.userName)
			}
			shared := Record{Identity: EncodeIdentity(tt.caller), EventID: "id"}
			again, _ := shared.AppendEntry(nil, nil)
			if !bytes.Equal(again, data) {
				t.Error("an identity encoded ahead gives another record")
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 4096)
	r := Record{Caller: user(), UserAgent: long, ErrorCode: long, ErrorMessage: long,
		RequestParameters: []byte(`{"a":"` + strings.Repeat("x", MaxRequestParameters) + `"}`),
		ResponseElements:  []byte(`{"a":"` + strings.Repeat("x", MaxResponseElements) + `"}`)}
	data, _ := r.AppendEntry(nil, nil)
	e, err := DecodeEntry(data)
	if err != nil {
		t.Fatal(err)
	}
	m := decode(t, e.JSON)
	for _, k := range []string{"userAgent", "errorCode", "errorMessage"} {
		if s := m[k].(string); len(s) > 1024 || len(s) < 1020 || !utf8.ValidString(s) {
			t.Errorf("%s has %d bytes", k, len(s))
		}
	}
	for _, k := range []string{"requestParameters", "responseElements"} {
		if d := cmp.Diff(map[string]any{"omitted": true}, m[k]); d != "" {
			t.Errorf("%s: %s", k, d)
		}
	}
	var many []Resource
	for range 6000 {
		many = append(many, Resource{Type: "AWS::S3::Object", ARN: "arn:aws:s3:::bucket/key-of-some-length"})
	}
	r = Record{Caller: user(), EventID: "id", Resources: many}
	data, _ = r.AppendEntry(nil, nil)
	if e, err = DecodeEntry(data); err != nil || len(e.JSON) > MaxEvent || e.Field(FieldEventID) != "id" {
		t.Errorf("an oversized event has %d bytes (%v)", len(e.JSON), err)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00\x1f\"\\/\n\r\t", "\xff\xfe", "ä\u2028", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(strings.Join(strings.Split(s, ""), ""), "\uFFFD"); utf8.ValidString(s) && back != want {
			t.Fatalf("%q came back as %q", s, back)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	r := Record{Caller: session(), EventID: "id", Resources: []Resource{{Type: "t", ARN: "a"}}}
	data, _ := r.AppendEntry(nil, nil)
	f.Add(data)
	f.Add([]byte{1, 0})
	enriched, _ := r.AppendEnriched(nil, nil, &Context{Request: map[string]string{"aws:EpochTime": "1"}})
	f.Add(enriched)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		for i := range numFields {
			_ = e.Field(i)
		}
		e.Resources(func(string, string) {})
		_, _ = e.Form(&everything)
		_, _ = e.OnlyFor()
	})
}

func BenchmarkEntry(b *testing.B) {
	c := user()
	r := Record{Category: Data, Identity: EncodeIdentity(c), Caller: c, EventTime: time.Unix(1700217484, 0),
		EventSource: "cassandra.amazonaws.com", EventName: "Insert", EventID: "e00552d3-34e9-4092-931a-912c4e08ba17",
		RequestID: "6d83bbf0-a3d0-4d49-b1d9-e31779a28628", Region: "us-east-1", AccountID: "111122223333",
		SourceIP: "10.24.34.1", UserAgent: "Cassandra Client/ProtocolV4", APIVersion: "3.4.4",
		RequestParameters: []byte(`{"keyspaceName":"my_keyspace","tableName":"my_table","primaryKeys":{"pk":"**(Redacted)"},"columnNames":["pk","v"]}`),
		Resources:         []Resource{{Type: "AWS::Cassandra::Table", ARN: "arn:aws:cassandra:us-east-1:111122223333:/keyspace/my_keyspace/table/my_table", AccountID: "111122223333"}}}
	b.ReportAllocs()
	var entry, scratch []byte
	for b.Loop() {
		entry, scratch = r.AppendEntry(entry[:0], scratch)
	}
	b.SetBytes(int64(len(entry)))
}
