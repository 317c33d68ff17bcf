package lake

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spoor/internal/athena/serde"
	"spoor/internal/aws"
	"spoor/internal/engine/duckdb"
	"spoor/internal/record"
)

// recordedEvents are events as the encoder writes them, with what is hard to
// read about JSON.
func recordedEvents() [][]byte {
	callers := []*aws.Caller{
		{Type: aws.IAMUser, AccountID: "123456789012", PrincipalID: "AIDAABCDEFGHIJKLMNOPQ", ARN: "arn:aws:iam::123456789012:user/admin", UserName: "admin", AccessKeyID: "AKIAABCDEFGHIJKLMNOP"},
		{Type: aws.Root, AccountID: "123456789012", PrincipalID: "123456789012", ARN: "arn:aws:iam::123456789012:root"},
		{Type: aws.AssumedRole, AccountID: "123456789012", PrincipalID: "AROAABCDEFGHIJKLMNOPQ:bob", ARN: "arn:aws:sts::123456789012:assumed-role/r/bob", AccessKeyID: "ASIAABCDEFGHIJKLMNOP",
			Session: &aws.Session{CreationDate: time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC), IssuerType: "Role", IssuerPrincipalID: "AROAABCDEFGHIJKLMNOPQ",
				IssuerARN: "arn:aws:iam::123456789012:role/r", IssuerAccountID: "123456789012", IssuerUserName: "r", SourceIdentity: "bob", FederatedProvider: "accounts.google.com", MFA: true}},
		aws.AnonymousCaller(),
	}
	params := []string{"", `{}`, `{"a":"b"}`, `{"queryString":"SELECT \"x\"\n\tFROM t WHERE a < 1 AND b = 'ü€😀' -- \\"}`,
		`{"n":1,"neg":-12,"t":true,"f":false,"z":null,"s":"","long":12345678901234567}`,
		`{"nested":{"a":[1,2,{"b":"c"}],"e":{},"l":[],"s":"x y"},"list":["a","b"]}`,
		`{"nested":{"a":"line\nbreak \"quoted\" back\\slash tab\t"}}`, `{"omitted":true}`, `{"k ey":"spaces","K":"upper","ключ":"unicode"}`,
	}
	hard := []string{`{"f":1.50,"e":1e3,"big":123456789012345678901234567890}`, `{"nested":{"a":"\u0001 \u003c"}}`, `{"nested":{"f":2.50}}`, `{ "a" : { "b" : 1 } }`}
	var out [][]byte
	for i, p := range append(params, hard...) {
		for k, c := range callers {
			r := record.Record{Caller: c, EventTime: time.Date(2026, 11, 25, 1, 2, 3+k, 999e6, time.UTC), EventID: fmt.Sprintf("00000000-0000-4000-8000-%06d%06d", i, k), RequestID: "r",
				Region: "us-east-1", AccountID: "123456789012", SourceIP: "10.0.12.34", UserAgent: "agent \"x\" \xff", EventSource: "athena.amazonaws.com", EventName: "StartQueryExecution",
				RequestParameters: []byte(p)}
			if k%2 == 0 {
				r.ErrorCode, r.ErrorMessage, r.ReadOnly = "AccessDenied", "no: <none> & \"nothing\"\n", true
				r.TLS = &record.TLS{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", KeyExchange: "X25519"}
				r.AdditionalEventData, r.ServiceEventDetails, r.SharedEventID = []byte(p), []byte(p), "shared"
			} else {
				r.APIVersion, r.ResponseElements = "2017-05-18", []byte(p)
				r.Resources = []record.Resource{{Type: "AWS::Cassandra::Table", ARN: "arn:aws:cassandra:us-east-1:1:/keyspace/k/table/t", AccountID: "123456789012"}, {ARN: "arn:x"}}
			}
			raw, _ := r.AppendEntry(nil, nil)
			e, err := record.DecodeEntry(raw)
			if err != nil {
				panic(err)
			}
			out = append(out, e.JSON)
		}
	}
	// Large events, with a context of each kind.
	form := record.Form{Large: true, RequestKeys: []string{"aws:EpochTime", "aws:PrincipalArn"}, TagKeys: []string{"cost centre", "team"}}
	tags := map[string]string{"team": "\"red\"", "cost centre": "7"}
	for i, c := range []*record.Context{{Request: map[string]string{"aws:EpochTime": "1795510800", "aws:PrincipalArn": "arn:u"}}, {Principal: tags},
		{Resources: []record.TaggedResource{{ARN: "arn:a", Tags: tags}, {ARN: "arn:b", Tags: map[string]string{"team": ""}}}},
		{Request: map[string]string{"aws:PrincipalArn": "arn:u"}, Principal: tags, Resources: []record.TaggedResource{{ARN: "arn:a", Tags: tags}}}} {
		r := record.Record{Caller: callers[0], EventTime: time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC), EventID: fmt.Sprintf("00000000-0000-4000-9000-%012d", i),
			EventSource: "athena.amazonaws.com", EventName: "StartQueryExecution", RequestParameters: []byte(`{"queryString":"` + strings.Repeat("x", 150<<10) + `"}`)}
		raw, _ := r.AppendEnriched(nil, nil, c)
		e, err := record.DecodeEntry(raw)
		if err != nil {
			panic(err)
		}
		js, err := e.Form(&form)
		if err != nil || !bytes.Contains(js, []byte("eventContext")) || len(js) < 150<<10 {
			panic(fmt.Sprintf("no large event: %v", err))
		}
		out = append(out, js)
	}
	return out
}

// The engine reads what is plain into the columns that serde.Event would.
func TestColumnsAgree(t *testing.T) {
	t.Parallel()
	engine := duckdb.New(duckdb.Config{MemoryMB: 512, Threads: 1, TempDir: t.TempDir()})
	ctx := t.Context()
	cols := columnsOf(&Store{})
	var plainEvents [][]byte
	for _, e := range recordedEvents() {
		if plain(e) {
			plainEvents = append(plainEvents, e)
		}
	}
	if n := len(plainEvents); n < 9*4+4 {
		t.Errorf("%d events are plain, want the %d that are", n, 9*4+4)
	}
	fast := filepath.Join(t.TempDir(), "fast.parquet")
	if err := engine.StreamParquet(ctx, fast, readColumns(rawEvents), duckdb.Relation{Name: rawEvents, Columns: rawColumns, Parts: []duckdb.Part{func(_ context.Context, emit func([]any) error) error {
		for _, e := range plainEvents {
			if err := emit([]any{string(e)}); err != nil {
				return err
			}
		}
		return nil
	}}}); err != nil {
		t.Fatal(err)
	}
	slow := duckdb.Relation{Name: "slow", Parts: []duckdb.Part{func(_ context.Context, emit func([]any) error) error {
		read, row := serde.NewEvent(cols), make([]any, len(cols))
		for _, e := range plainEvents {
			if err := read.Row(e, row); err != nil {
				return err
			}
			row[len(row)-1] = string(e)
			if err := emit(row); err != nil {
				return err
			}
		}
		return nil
	}}}
	file := duckdb.Relation{Name: "fast", Parquet: []duckdb.File{{Path: fast}}}
	var items []string
	for _, c := range cols {
		slow.Columns = append(slow.Columns, duckdb.Column{Name: c.Name, Type: c.Type.DuckDB()})
		item := `"` + c.Name + `"`
		if c.Type.Name == "map" {
			item = "list_sort(map_entries(" + item + "))"
		}
		items = append(items, "CAST("+item+" AS VARCHAR)")
	}
	file.Columns = slow.Columns
	read := func(r duckdb.Relation) [][]string {
		var out [][]string
		if err := engine.Query(ctx, "SELECT "+strings.Join(items, ", ")+` FROM "`+r.Name+`" ORDER BY eventid`, []duckdb.Relation{r}, func([]duckdb.ResultColumn) error { return nil }, func(row []any) error {
			var texts []string
			for _, v := range row {
				texts = append(texts, fmt.Sprint(v))
			}
			out = append(out, texts)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	got, want := read(file), read(slow)
	if len(got) != len(plainEvents) || len(want) != len(got) {
		t.Fatalf("%d and %d rows of %d events", len(got), len(want), len(plainEvents))
	}
	for i := range got {
		for k := range cols {
			if got[i][k] != want[i][k] {
				t.Errorf("%s of %s:\n got %s\nwant %s", cols[k].Name, want[i][len(cols)-1], got[i][k], want[i][k])
			}
		}
	}
}
