package bridge

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"spoor/internal/notify"
	"spoor/internal/record"
)

func TestEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.loops(t, `[{"name":"all","eventPattern":{"source":["aws.athena"]},"targets":[{"webhook":{"url":"http://127.0.0.1:1/"}}]},
		{"name":"other","eventPattern":{"source":["aws.athena"]},"targets":[{"webhook":{"url":"http://127.0.0.1:1/"}}]}]`)
	eventID := w.add(t, record.Record{EventTime: time.Date(2026, 3, 4, 5, 6, 7, 891e6, time.UTC), Region: "eu-west-1",
		RequestParameters: []byte(`{"queryString":"SELECT '<>&'"}`)})
	m := next(t, l[0])
	if len(m) != 1 {
		t.Fatalf("%d messages", len(m))
	}
	it, err := w.journal.Get(1)
	if err != nil {
		t.Fatal(err)
	}
	id := nameID(accountID, eventID)
	want := fmt.Sprintf(`{"version":"0","id":%q,"detail-type":"AWS API Call via CloudTrail","source":"aws.athena","account":"123456789012",`+
		`"time":"2026-03-04T05:06:07Z","region":"eu-west-1","resources":[],"detail":%s}`, id, it.JSON)
	if got := string(m[0].Body); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !json.Valid(m[0].Body) {
		t.Error("the event is not JSON")
	}
	if want := uuid(accountID + "\x00" + eventID); id != want {
		t.Errorf("the id is %s, want %s", id, want)
	}
	if len(id) != 36 || id[14] != '5' {
		t.Errorf("the id %q is not a UUID of version 5", id)
	}
	other := next(t, l[1])[0]
	if string(other.Body) != want {
		t.Error("another rule gets another event")
	}
	if other.ID == m[0].ID || other.ID == id {
		t.Error("messages of two rules have one id")
	}
	if again := next(t, l[0])[0]; again.ID != m[0].ID {
		t.Error("a repetition has another id")
	}
}

// uuid is nameID told once more, in RFC 9562's words.
func uuid(name string) string {
	h := sha1.Sum(append(slices.Clone(namespace), name...))
	b := h[:16]
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func TestSelect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rule := func(name, members string) string {
		return fmt.Sprintf(`{"name":%q,%s,"targets":[{"nats":{"url":"nats://127.0.0.1:1","subject":"s"}}]}`, name, members)
	}
	all := `"eventPattern":{"version":["0"]}`
	l := w.loops(t, "["+strings.Join([]string{
		rule("enabled", all),
		rule("reads", all+`,"state":"ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"`),
		rule("disabled", all+`,"state":"DISABLED"`),
		rule("account", all+`,"account":"999999999999"`),
		rule("region", all+`,"region":"eu-west-1"`),
		rule("names", `"eventPattern":{"detail":{"eventName":[{"prefix":"Get"},"AssumeRole"]}},"state":"ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"`),
		rule("types", `"eventPattern":{"detail-type":["AWS Service Event via CloudTrail","AWS Console Sign In via CloudTrail"]}`),
		rule("user", `"eventPattern":{"detail":{"userIdentity":{"userName":["alice"]},"requestParameters":{"n":[{"numeric":[">",4]}]}}}`),
	}, ",")+"]")
	w.add(t, record.Record{EventName: "Start", RequestParameters: []byte(`{"n":5}`)})
	w.add(t, record.Record{EventName: "GetQueryResults", ReadOnly: true})
	w.add(t, record.Record{EventName: "LookupEvents", EventSource: "cloudtrail.amazonaws.com", ReadOnly: true})
	w.add(t, record.Record{EventName: "AssumeRole", EventSource: "sts.amazonaws.com", ReadOnly: true, Region: "eu-west-1"})
	w.add(t, record.Record{EventName: "GetSessionToken", EventSource: "sts.amazonaws.com", ReadOnly: true})
	w.add(t, record.Record{EventName: "GetObject", EventSource: "s3.amazonaws.com", ReadOnly: true, Category: record.Data})
	w.add(t, record.Record{EventName: "Select", EventSource: "cassandra.amazonaws.com", AccountID: "999999999999", Category: record.Data})
	w.add(t, record.Record{EventName: "Rotate", EventType: "AwsServiceEvent"})
	w.add(t, record.Record{EventName: "ConsoleLogin", EventSource: "signin.amazonaws.com", EventType: "AwsConsoleSignIn"})
	w.add(t, record.Record{EventName: "Odd", EventType: "AwsUnheardOf"})
	w.add(t, record.Record{EventName: "Large", RequestParameters: []byte(`{"x":"` + strings.Repeat("y", maxEvent) + `"}`)})
	want := map[string]string{
		"enabled": "Start LookupEvents AssumeRole GetSessionToken GetObject Select Rotate ConsoleLogin",
		"reads":   "Start GetQueryResults LookupEvents AssumeRole GetSessionToken GetObject Select Rotate ConsoleLogin",
		"account": "Select",
		"region":  "AssumeRole",
		"names":   "GetQueryResults AssumeRole GetSessionToken GetObject",
		"types":   "Rotate ConsoleLogin",
		"user":    "Start",
	}
	got := map[string]string{}
	for _, l := range l {
		var names []string
		for _, m := range next(t, l) {
			names = append(names, m.Attributes["event-name"])
		}
		got[strings.Split(l.Target, "/")[1]] = strings.Join(names, " ")
	}
	for _, name := range []string{"enabled", "reads"} {
		// Truncation of a record to its own limit comes first; the event is small then.
		got[name] = strings.TrimSuffix(got[name], " Large")
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := func(id, more string) string {
		return fmt.Sprintf(`{"id":%q,%s"nats":{"url":"nats://127.0.0.1:1","subject":"s"}}`, id, more)
	}
	l := w.loops(t, `[{"name":"r","eventPattern":{"source":["aws.athena"]},"targets":[`+strings.Join([]string{
		target("a", `"input":{"fixed":1},`), target("b", `"inputPath":"$.detail.eventName",`), target("c", `"inputPath":"$.detail.none",`),
		target("d", `"inputPath":"$",`)}, ",")+`]}]`)
	w.add(t, record.Record{})
	for i, want := range []string{`{"fixed":1}`, `"StartQueryExecution"`, `{}`, `{"version":"0",`} {
		if got := string(next(t, l[i])[0].Body); !strings.HasPrefix(got, want) || i < 3 && got != want {
			t.Errorf("%s: %s, want %s", l[i].Target, got, want)
		}
	}
}

// TestCursor has a rule begin where it is declared, keep its place over a
// restart, and hold nothing once it is gone.
func TestCursor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const rules = `[{"name":"r","eventPattern":{"source":["aws.athena"]},"targets":[{"id":"t","webhook":{"url":"http://127.0.0.1:1/"}}]}]`
	w.add(t, record.Record{EventName: "Before"})
	l := w.loops(t, rules)[0]
	if m := next(t, l); len(m) != 0 {
		t.Fatalf("a new rule gets %q of before", m[0].Attributes["event-name"])
	}
	w.add(t, record.Record{EventName: "One"})
	w.restart(t)
	w.add(t, record.Record{EventName: "Two"})
	l = w.loops(t, rules)[0]
	m := next(t, l)
	if len(m) != 1 || m[0].Attributes["event-name"] != "One" {
		t.Fatalf("after a restart: %v", m)
	}
	// Whatever is not taken keeps the journal.
	if seq, err := w.journal.Trim(10); err != nil || seq != 1 {
		t.Errorf("trimmed to %d, %v", seq, err)
	}
	w.restart(t)
	w.loops(t, `[]`)
	if seq, err := w.journal.Trim(10); err != nil || seq != 3 {
		t.Errorf("trimmed to %d, %v, with no rule", seq, err)
	}
}

// TestPassedOver has the cursor move though nothing matches.
func TestPassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.loops(t, `[{"name":"r","eventPattern":{"source":["none"]},"targets":[{"id":"t","webhook":{"url":"http://127.0.0.1:1/"}}]}]`)[0]
	src, ok := l.Source.(*source)
	if !ok {
		t.Fatal("another source")
	}
	for range 5 {
		w.add(t, record.Record{})
	}
	w.drain(t, l)
	if at, err := w.journal.Cursor(src.cursor); err != nil || at != 0 || src.scanned != 5 {
		t.Errorf("at %d, %d, %v", at, src.scanned, err)
	}
	src.durable -= cursorEvery // as if so many had been passed over
	w.drain(t, l)
	if at, err := w.journal.Cursor(src.cursor); err != nil || at != 5 {
		t.Errorf("at %d, %v, want 5", at, err)
	}
}

func TestRefusedRules(t *testing.T) {
	t.Parallel()
	const ok = `"targets":[{"webhook":{"url":"http://h/"}}]`
	for _, tc := range []struct{ rules, want string }{
		{`{}`, "rules"},
		{`[{"name":"a b","eventPattern":{"a":[1]},` + ok + `}]`, "rules[0].name:"},
		{`[{"name":"a","eventPattern":{"a":1},` + ok + `}]`, `"a" must be an object or an array`},
		{`[{"name":"a",` + ok + `}]`, "rules[0].eventPattern: it is needed"},
		{`[{"name":"a","eventPattern":{"a":[1]}}]`, "1 to 5 targets"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{}]}]`, "targets[0]: give one of"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"webhook":{"url":"http://h/"},"nats":{"url":"nats://h","subject":"s"}}]}]`, "give one of"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"webhook":{"url":"http://u:secret@h/"}}]}]`, "must not hold a password"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"webhook":{"url":"http://h/"}},{"webhook":{"url":"http://h/"}}]}]`, "has a target"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"webhook":{"url":"http://h/","colour":1}}]}]`, "colour"},
		{`[{"name":"a","state":"ON","eventPattern":{"a":[1]},` + ok + `}]`, ".state"},
		{`[{"name":"a","account":"1","eventPattern":{"a":[1]},` + ok + `}]`, ".account"},
		{`[{"name":"a","eventPattern":{"a":[1]},` + ok + `},{"name":"a","eventPattern":{"a":[1]},` + ok + `}]`, "rules[1].name"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"kafka":{"brokers":["h"],"topic":"t"}}]}]`, "HOST:PORT"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"kafka":{"brokers":["h:1"],"topic":"t","sasl":"GSSAPI"}}]}]`, "none of PLAIN"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"nats":{"url":"nats://h","subject":"a.*"}}]}]`, "subject"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"sqs":{"url":"http://h/1/q","messageGroupId":"g"}}]}]`, "fifo"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"sqs":{"url":"http://h/1/q","credentials":{"accessKeyId":"k","secretKeyFile":"f"}}}]}]`, "region"},
		{`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"inputPath":"$.a[*]","webhook":{"url":"http://h/"}}]}]`, "inputPath"},
	} {
		_, err := Parse(json.RawMessage(tc.rules), "/etc")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.rules, err, tc.want)
		} else if strings.Contains(err.Error(), "secret@") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
	if rules, err := Parse(nil, ""); err != nil || rules != nil {
		t.Errorf("no rules: %v, %v", rules, err)
	}
}

// TestPaths: what a path leads to in an event, and what is no path.
func TestPaths(t *testing.T) {
	t.Parallel()
	const event = `{"detail":{"resources":[{"ARN":"a"},{"ARN":["b","c"]}],"n":null,"e":[],"m":[[1,2],[3]]},"x":{"0":"zero"}}`
	for _, tc := range []struct{ path, want string }{
		{"$", event},
		{"$.detail.resources[0].ARN", `"a"`},
		{"$.detail.resources[1].ARN[1]", `"c"`},
		{"$.detail.resources[1]", `{"ARN":["b","c"]}`},
		{"$.detail.m[0][1]", "2"},
		{"$.detail.m[1]", "[3]"},
		{"$.detail.resources[2].ARN", "{}"}, // past the end
		{"$.detail.e[0]", "{}"},
		{"$.detail[0]", "{}"}, // an object has no elements
		{"$.x[0]", "{}"},
		{"$.detail.resources.ARN", "{}"}, // an array has no members
		{"$.detail.n[0]", "{}"},
		{"$.detail.n", "null"},
		{"$.x.0", `"zero"`},
		{"$[0]", "{}"},
	} {
		steps, err := parsePath(tc.path)
		if err != nil {
			t.Errorf("%s: %v", tc.path, err)
		} else if got := string(follow([]byte(event), steps)); got != tc.want {
			t.Errorf("%s leads to %s, want %s", tc.path, got, tc.want)
		}
	}
	for _, bad := range []string{"", "detail", "$detail", "$.", "$..a", "$.a.", "$.a[", "$.a[]", "$.a[-1]", "$.a[+1]", "$.a[*]", "$.a[1:2]",
		"$.a[0]b", "$.a]", "$.a['b']", "$.a[99999999999]", "$.*"} {
		if steps, err := parsePath(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, steps)
		}
	}
}

func FuzzRules(f *testing.F) {
	f.Add(`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"inputPath":"$.a","webhook":{"url":"http://h/"}}]}]`, `{"a":{"b":1}}`)
	f.Add(`[{"name":"a","eventPattern":{"a":[1]},"targets":[{"inputPath":"$.a[1].b[0]","webhook":{"url":"http://h/"}}]}]`, `{"a":[0,{"b":[1]}]}`)
	f.Fuzz(func(t *testing.T, rules, event string) {
		parsed, err := Parse(json.RawMessage(rules), "/d")
		if err != nil {
			return
		}
		for i := range parsed {
			parsed[i].pattern.Match([]byte(event))
			for _, target := range parsed[i].Targets {
				if steps, err := parsePath(target.InputPath); err == nil && json.Valid([]byte(event)) {
					if !json.Valid(follow([]byte(event), steps)) {
						t.Error("a part of JSON is not JSON")
					}
				}
			}
		}
	})
}

func TestSignature(t *testing.T) {
	t.Parallel()
	// The example of the Standard Webhooks specification's reference libraries.
	key, err := decodeKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, bad := range []string{"whsec_!", "short", "whsec_c2hvcnQ="} {
		if _, err := decodeKey(bad); err == nil {
			t.Errorf("the key %q is taken", bad)
		}
	}
}

// BenchmarkSource is what a rule's target costs for each record.
func BenchmarkSource(b *testing.B) {
	for name, pattern := range map[string]string{
		"passed over by name":  `{"source":["aws.athena"],"detail":{"eventName":["DeleteNamedQuery"]}}`,
		"passed over by event": `{"source":["aws.athena"],"detail":{"userIdentity":{"userName":["bob"]}}}`,
		"matched":              `{"source":["aws.athena"]}`,
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			l := w.loops(b, `[{"name":"r","eventPattern":`+pattern+`,"targets":[{"nats":{"url":"nats://127.0.0.1:1","subject":"s"}}]}]`)[0]
			const records = 20000
			for range records {
				w.add(b, record.Record{RequestParameters: []byte(`{"queryString":"SELECT 1","workGroup":"primary"}`)})
			}
			src, ok := l.Source.(*source)
			if !ok {
				b.Fatal("another source")
			}
			src.limit = records + 1
			b.ReportAllocs()
			for b.Loop() {
				src.scanned, src.pending = 0, nil
				for src.scanned < records {
					at := src.scanned
					if err := src.fill(b.Context()); err != nil {
						b.Fatal(err)
					}
					if src.scanned == at {
						src.pending = nil // a full batch
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
		})
	}
}

var _ notify.Source = (*source)(nil)
