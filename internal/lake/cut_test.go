package lake

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spoor/internal/athena/serde"
	"spoor/internal/athena/sql"
	"spoor/internal/aws"
	"spoor/internal/engine/duckdb"
	"spoor/internal/parquet"
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
	out := [][]byte{
		[]byte(`{"eventID":"1","eventContext":{"requestContext":{"a":"b"},"tagContext":{"resourceTags":[{"arn":"x","tags":{"k":"v"}},{"tags":{}},null,{"arn":"y","tags":null}],"principalTags":{}}}}`),
		[]byte(`{"eventID":"2","eventContext":{"tagContext":{"resourceTags":[]}}}`),
	}
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

// asRows are events as serde.Event reads them, which is how rows and the journal
// are read.
func asRows(cols []sql.Column, events [][]byte) duckdb.Relation {
	return duckdb.Relation{Name: "slow", Parts: []duckdb.Part{func(_ context.Context, emit func([]any) error) error {
		read, row := serde.NewEvent(cols), make([]any, len(cols))
		for _, e := range events {
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
}

// The cutter reads what it takes into the columns that serde.Event would.
func TestColumnsAgree(t *testing.T) {
	t.Parallel()
	engine := duckdb.New(duckdb.Config{MemoryMB: 512, Threads: 1, TempDir: t.TempDir()})
	ctx := t.Context()
	cols := columnsOf(&Store{})
	fast := filepath.Join(t.TempDir(), "fast.parquet")
	f, err := os.Create(fast)
	if err != nil {
		t.Fatal(err)
	}
	c := newCutter(f, &Store{})
	var taken [][]byte
	for _, e := range recordedEvents() {
		ok, err := c.add(e)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			taken = append(taken, e)
		}
	}
	if n := len(taken); n != 12*4+6 {
		t.Errorf("%d events are taken, want the %d without white space", n, 12*4+6)
	}
	if err := errors.Join(c.close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	slow := asRows(cols, taken)
	file := duckdb.Relation{Name: "fast", Parquet: []duckdb.File{{Path: fast}}}
	var items []string
	for _, c := range cols {
		slow.Columns = append(slow.Columns, duckdb.Column{Name: c.Name, Type: c.Type.DuckDB()})
		item := `"` + c.Name + `"`
		switch {
		case c.Type.Name == "map":
			item = "list_sort(map_entries(" + item + "))"
		case c.Name == "eventcontext":
			item = `concat_ws(' ', eventcontext IS NULL, eventcontext.tagcontext IS NULL, list_sort(map_entries(eventcontext.requestcontext)), list_sort(map_entries(eventcontext.tagcontext.principaltags)),
				list_transform(eventcontext.tagcontext.resourcetags, x -> {arn: x.arn, tags: list_sort(map_entries(x.tags))}))`
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
	if len(got) != len(taken) || len(want) != len(got) {
		t.Fatalf("%d and %d rows of %d events", len(got), len(want), len(taken))
	}
	for i := range got {
		for k := range cols {
			if got[i][k] != want[i][k] {
				t.Errorf("%s of %s:\n got %s\nwant %s", cols[k].Name, want[i][len(cols)-1], got[i][k], want[i][k])
			}
		}
	}
}

// TestCutMany: row groups, columns whose values are too many for a dictionary,
// long runs, and values larger than a page come back as they were, and as
// serde.Event reads them.
func TestCutMany(t *testing.T) {
	t.Parallel()
	engine := duckdb.New(duckdb.Config{MemoryMB: 1024, Threads: 2, TempDir: t.TempDir()})
	path := filepath.Join(t.TempDir(), "many.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const n = parquet.GroupRows + 3000
	c := newCutter(f, &Store{})
	var events [][]byte
	for i := range n {
		e := fmt.Appendf(nil, `{"eventTime":"2026-11-25T%02d:%02d:%02dZ","eventID":"id %d","errorCode":%q,"readOnly":%t`, i/3600, i/60%60, i%60, i, []string{"A", "B", "C"}[i/700%3], i%5 == 0)
		if i%3 > 0 {
			e = fmt.Appendf(e, `,"userIdentity":{"type":"T%d","sessionContext":{"webIdFederationData":{"attributes":{"k%d":"v","l":"%d"}}}}`, i%7, i%2, i)
		}
		if i%4 > 0 {
			e = fmt.Appendf(e, `,"requestParameters":{"a":%d,"b":{"c":[%d]},"token":"t%d"},"resources":[{"ARN":"arn:%d"},null,{"type":"x"}]`, i%10, i/50, i, i%6000)
		}
		switch i % 5000 {
		case 11:
			e = fmt.Appendf(e, `,"errorMessage":%q`, strings.Repeat("long ", 300_000))
		case 12, 13:
			e = append(e, `,"responseElements":{}`...)
		}
		e = append(e, '}')
		events = append(events, e)
		if ok, err := c.add(e); !ok || err != nil {
			t.Fatal(string(e[:min(len(e), 300)]), ok, err)
		}
	}
	if err := errors.Join(c.close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	cols := columnsOf(&Store{})
	slow := asRows(cols, events)
	var items []string
	for _, c := range cols {
		slow.Columns = append(slow.Columns, duckdb.Column{Name: c.Name, Type: c.Type.DuckDB()})
		item := `"` + c.Name + `"`
		switch {
		case c.Type.Name == "map":
			item = "list_sort(map_entries(" + item + "))"
		case c.Name == "useridentity":
			item = `[useridentity."type"]` + " || list_transform(list_sort(map_entries(useridentity.sessioncontext.webidfederationdata.attributes)), x -> x.key || '=' || x.value)"
		}
		items = append(items, item)
	}
	fast := duckdb.Relation{Name: "fast", Columns: slow.Columns, Parquet: []duckdb.File{{Path: path}}}
	list := strings.Join(items, ", ")
	ask := func(query string, rels ...duckdb.Relation) []any {
		t.Helper()
		var out []any
		if err := engine.Query(t.Context(), query, rels, func([]duckdb.ResultColumn) error { return nil }, func(row []any) error {
			out = append(out, row...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if d := cmp.Diff([]any{int64(n), int64(0)}, ask("SELECT (SELECT count(*) FROM fast), (SELECT count(*) FROM (SELECT "+list+" FROM fast EXCEPT ALL SELECT "+list+" FROM slow))", fast, slow)); d != "" {
		t.Error(d)
	}
	// What row groups are skipped by must not skip a row.
	for where, want := range map[string]int64{"errorcode = 'B'": 7700, "errorcode = 'D'": 0, "eventtime >= TIMESTAMP '2026-11-25 05:41:20'": 3000, "eventid = 'id 23479'": 1, "errormessage IS NULL": n - 5, "useridentity IS NULL": 7827} {
		if d := cmp.Diff([]any{want}, ask("SELECT count(*) FROM fast WHERE "+where, fast)); d != "" {
			t.Errorf("%s: %s", where, d)
		}
	}
}

// rowOf makes the Go values of a cutter's last event.
func rowOf(c *cutter, col *cutColumn) any {
	v := &col.next
	if !col.isNew {
		v = &col.last
	}
	if col.seen != c.serial {
		return nil
	}
	r := rebuild{v: v, parts: map[int][]cutPart{}}
	for _, p := range v.parts {
		r.parts[p.leaf] = append(r.parts[p.leaf], p)
	}
	return r.value(col.node)
}

type rebuild struct {
	v     *cutValue
	parts map[int][]cutPart
}

// level is the definition level of a node's next part.
func (r *rebuild) level(n *parquet.Node) uint8 {
	leaf := n
	for len(leaf.Children) > 0 {
		leaf = leaf.Children[0]
	}
	if p := r.parts[n.First][0]; p.null {
		return p.def
	}
	return leaf.Def
}

func (r *rebuild) skip(n *parquet.Node) {
	for l := n.First; l < n.Last; l++ {
		r.parts[l] = r.parts[l][1:]
	}
}

func (r *rebuild) more(n *parquet.Node) bool {
	next := r.parts[n.First]
	return len(next) > 0 && next[0].rep == n.Rep
}

func (r *rebuild) value(n *parquet.Node) any {
	at := r.level(n)
	if at < n.Def {
		r.skip(n)
		return nil
	}
	switch n.Kind {
	case parquet.Struct:
		out := map[string]any{}
		for _, c := range n.Children {
			out[c.Name] = r.value(c)
		}
		return out
	case parquet.List:
		out := []any{}
		if at == n.Def {
			r.skip(n)
			return out
		}
		for more := true; more; more = r.more(n) {
			out = append(out, r.value(n.Children[0]))
		}
		return out
	case parquet.Map:
		out := duckdb.Map{}
		if at == n.Def {
			r.skip(n)
			return out
		}
		for more := true; more; more = r.more(n) {
			k := r.value(n.Children[0])
			out[k] = r.value(n.Children[1])
		}
		return out
	}
	p := r.parts[n.First][0]
	r.skip(n)
	from := r.v.json
	if p.own {
		from = r.v.own
	}
	b := from[p.from:p.to]
	switch n.Kind {
	case parquet.Bool:
		return b[0] == 1
	case parquet.Timestamp:
		return time.UnixMicro(int64(binary.LittleEndian.Uint64(b))).UTC()
	}
	return string(b)
}

// FuzzCut: whatever the cutter takes, serde.Event reads as it does, after any
// other event.
func FuzzCut(f *testing.F) {
	for _, e := range recordedEvents() {
		f.Add(e, e)
	}
	f.Add([]byte(`{"eventContext":{"requestContext":{"a":"b"},"tagContext":{"resourceTags":[{"arn":"x","tags":{"k":"v","l":"w"}},{"tags":{}},null,{"arn":"y","tags":null}],"principalTags":{}}}}`), []byte(`{"eventContext":{"tagContext":{"resourceTags":[]}}}`))
	f.Add([]byte(`{"eventName":"\ud83d\ude00\ud800","resources":[null,{"ARN":"a","arnPrefix":null},{}],"tlsDetails":null}`), []byte(`{"eventname":12e3,"requestparameters":{"":[],"x":"\/"}}`))
	cols := columnsOf(&Store{})
	read := serde.NewEvent(cols)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c := newCutter(io.Discard, &Store{})
		for _, e := range [][]byte{first, second} {
			c.serial++
			if !c.members(e) {
				continue
			}
			want, got := make([]any, len(cols)), make([]any, len(cols))
			if err := read.Row(e, want); err != nil {
				t.Fatalf("%q is taken although: %v", e, err)
			}
			for i := range c.columns {
				got[i] = rowOf(c, &c.columns[i])
			}
			want[len(want)-1] = nil // the whole event
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("%q: %s", e, d)
			}
			if ok, err := c.add(e); !ok || err != nil {
				t.Fatalf("%q is taken and then is not: %v", e, err)
			}
		}
	})
}
