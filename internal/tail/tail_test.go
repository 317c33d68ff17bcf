package tail

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

const account = "123456789012"

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func entry(account, name, params string, res ...record.Resource) journal.Entry {
	r := record.Record{
		Caller:    &aws.Caller{Type: aws.IAMUser, AccountID: account, PrincipalID: "AIDA", UserName: "alice", ARN: "arn:aws:iam::" + account + ":user/alice"},
		EventTime: time.Unix(1700000000, 0), EventSource: "athena.amazonaws.com", EventName: name, EventID: name, Region: "us-east-1", AccountID: account,
		SourceIP: "127.0.0.1", RequestParameters: []byte(params), Resources: res,
	}
	data, _ := r.AppendEntry(nil, nil)
	return journal.Entry{Account: account, Region: "us-east-1", Data: data}
}

func item(t *testing.T, e journal.Entry) *journal.Item {
	t.Helper()
	d, err := record.DecodeEntry(e.Data)
	if err != nil {
		t.Fatal(err)
	}
	return &journal.Item{Seq: 7, Entry: d}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	it := item(t, entry(account, "GetTable", `{"name":"x=y","limit":5,"deep":{"on":true}}`,
		record.Resource{Type: "T", ARN: "arn:one"}, record.Resource{Type: "T", ARN: "arn:two"}))
	for cond, want := range map[string]bool{
		"eventName=GetTable": true, "eventName=Get": false, "eventName!=Get": true, "eventName!=GetTable": false,
		"eventName^=Get": true, "eventName$=Table": true, "eventName*=tTa": true, "eventName!*=tTa": false, "eventName!^=Put": true, "eventName!$=x": true,
		"userIdentity.userName=alice": true, "userIdentity.userName=bob": false,
		"requestParameters.name=x=y": true, "requestParameters.limit=5": true, "requestParameters.deep.on=true": true, "requestParameters.deep={\"on\":true}": true,
		"resources.ARN=arn:two": true, "resources.ARN!=arn:two": false, "resources.ARN^=arn:t": true, "resources.ARN=arn:three": false,
		"errorCode=": true, "errorCode!=": false, "nothing.here=": true, "nothing.here=x": false, "eventName.x=": true, "readOnly=false": true,
	} {
		f, err := ParseFilter([]string{"recipientAccountId=" + account, cond})
		if err != nil {
			t.Fatalf("%s: %v", cond, err)
		}
		if got, err := f.Match(it); err != nil || got != want {
			t.Errorf("%s: %v (%v), want %v", cond, got, err, want)
		}
	}
	for _, cond := range []string{"", "eventName", "=x", ".a=x", "a..b=x", "a!b=x", "^=x", strings.Repeat("a", maxCondition) + "=x"} {
		if _, err := ParseFilter([]string{cond}); aws.AsError(err).Code != "ValidationException" {
			t.Errorf("%q: %v", cond, err)
		}
	}
	if _, err := ParseFilter(make([]string, maxConditions+1)); err == nil {
		t.Error("any number of conditions is taken")
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a=b", "a.b!^=c", "resources.ARN*==", "!=", "x$=\x00"} {
		f.Add(s)
	}
	e := entry(account, "GetTable", `{"a":[{"b":[]},1,null]}`)
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := ParseFilter([]string{s})
		if err != nil {
			return
		}
		// A condition and its opposite never agree.
		other, err := ParseFilter([]string{opposite(s)})
		if err != nil {
			t.Fatalf("%q parses and %q does not: %v", s, opposite(s), err)
		}
		a, aerr := parsed.Match(item(t, e))
		b, berr := other.Match(item(t, e))
		if aerr != nil || berr != nil || a == b {
			t.Fatalf("%q: %v (%v), opposite %v (%v)", s, a, aerr, b, berr)
		}
	})
}

func opposite(s string) string {
	at := strings.IndexByte(s, '=')
	for _, op := range operators {
		if field, ok := strings.CutSuffix(s[:at+1], op); ok {
			if op[0] == '!' {
				return field + op[1:] + s[at+1:]
			}
			return field + "!" + op + s[at+1:]
		}
	}
	return s
}

// rig is a tail over a journal in memory.
type rig struct {
	t    *testing.T
	jr   *journal.Journal
	url  string
	stop context.CancelFunc
	auth *onlyAlice
}

// signed proves everybody whose request has a user.
type signed struct{}

func (signed) Authenticate(r *http.Request, _ []byte, service string, _ bool) (*awshttp.Identity, error) {
	user := r.Header.Get("Authorization")
	if user == "" || service != "cloudtrail" {
		return nil, &awshttp.AuthError{Err: aws.NewError(aws.Unauthenticated, "MissingAuthenticationTokenException", "Missing Authentication Token")}
	}
	return &awshttp.Identity{Caller: &aws.Caller{Type: aws.IAMUser, AccountID: account, UserName: user, ARN: "arn:aws:iam::" + account + ":user/" + user}, Region: "eu-west-1"}, nil
}

// onlyAlice lets alice watch until that is revoked.
type onlyAlice struct{ revoked atomic.Bool }

func (o *onlyAlice) Authorize(_ context.Context, c *call.Call, perms []call.Permission) error {
	if !o.revoked.Load() && c.Caller.UserName == "alice" && len(perms) == 1 && perms[0].Action == "cloudtrail:LookupEvents" {
		return nil
	}
	return aws.NewError(aws.Denied, "AccessDeniedException", "no")
}

type nothing struct{}

func (nothing) Version() uint64               { return 1 }
func (nothing) AnyData() bool                 { return false }
func (nothing) Selects(r *record.Record) bool { return false }

func start(t *testing.T, beat time.Duration) *rig {
	t.Helper()
	store, err := kv.Open("store", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	jr, err := journal.Open(store, quiet)
	if err != nil {
		t.Fatal(err)
	}
	done, stop := context.WithCancel(context.Background())
	auth := new(onlyAlice)
	path := &call.Path{Auth: auth, Selector: nothing{}, Journal: jr, Store: store, Now: time.Now, Log: quiet}
	srv := httptest.NewServer(New(Config{Path: path, Auth: signed{}, Journal: jr, Region: "us-east-1", Done: done, Log: quiet, Heartbeat: beat}))
	t.Cleanup(func() {
		stop()
		srv.Close()
		if err := jr.Close(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, jr: jr, url: srv.URL, stop: stop, auth: auth}
}

func (r *rig) add(names ...string) {
	r.t.Helper()
	for _, n := range names {
		for _, a := range []string{account, "999999999999"} {
			if err := r.jr.Append(journal.Group{Entries: []journal.Entry{entry(a, n, `{}`)}}); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

type line struct {
	Seq   uint64
	Event *struct {
		EventName, RecipientAccountID, AwsRegion, ErrorCode string
		RequestParameters                                   struct {
			After string
			Where []string
		}
	}
}

func (r *rig) open(user, query string) (*http.Response, func() line) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.url+"?"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", user)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { res.Body.Close() })
	sc := bufio.NewScanner(res.Body)
	return res, func() (l line) {
		r.t.Helper()
		if !sc.Scan() {
			r.t.Fatalf("the stream ended: %v", sc.Err())
		}
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			r.t.Fatalf("%s: %v", sc.Text(), err)
		}
		return l
	}
}

// TestStream: a client sees its account's matching records once and in order,
// and goes on where it stopped.
func TestStream(t *testing.T) {
	t.Parallel()
	r := start(t, time.Hour)
	r.add("A1", "B1", "A2")
	res, next := r.open("alice", "after=0&where="+url.QueryEscape("eventName^=A"))
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%s %s", res.Status, res.Header.Get("Content-Type"))
	}
	for _, want := range []line{{Seq: 1}, {Seq: 5}} {
		got := next()
		if got.Seq != want.Seq || got.Event.RecipientAccountID != account {
			t.Fatalf("%+v %+v, want %+v", got, got.Event, want)
		}
	}
	r.add("B2", "A3")
	got := next()
	if got.Event.EventName != "A3" {
		t.Fatalf("%+v", got.Event)
	}
	_, again := r.open("alice", fmt.Sprintf("after=%d", got.Seq-3))
	if l := again(); l.Event.EventName != "B2" {
		t.Fatalf("resumed at %+v", l.Event)
	}
	// Without a number the stream begins now; its own record came before.
	_, fresh := r.open("alice", "")
	r.add("C1")
	if l := fresh(); l.Event.EventName != "TailEvents" && l.Event.EventName != "C1" {
		t.Fatalf("a new stream begins with %+v", l.Event)
	}
}

// TestRecorded: watching, and being refused to, leaves a record with what was
// asked for.
func TestRecorded(t *testing.T) {
	t.Parallel()
	r := start(t, time.Hour)
	r.open("alice", "after=0&where=eventName%3DX")
	if res, _ := r.open("bob", ""); res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusBadRequest {
		t.Errorf("bob: %s", res.Status)
	}
	if res, _ := r.open("", ""); res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusBadRequest {
		t.Errorf("unsigned: %s", res.Status)
	}
	for _, q := range []string{"after=x", "where=x", "after=1000"} {
		if res, _ := r.open("alice", q); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", q, res.Status)
		}
	}
	var got []string
	err := r.jr.Read(0, 1<<40, func(it journal.Item) (bool, error) {
		var l line
		if err := json.Unmarshal(it.JSON, &l.Event); err != nil {
			return false, err
		}
		got = append(got, fmt.Sprintf("%s %s %s %v", l.Event.EventName, l.Event.AwsRegion, l.Event.ErrorCode, l.Event.RequestParameters))
		return true, nil
	})
	want := []string{"TailEvents eu-west-1  {0 [eventName=X]}", "TailEvents eu-west-1 AccessDeniedException { []}",
		"TailEvents eu-west-1 ValidationException { []}", "TailEvents eu-west-1 ValidationException { []}",
		"TailEvents eu-west-1 ValidationException { []}"}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("records\n%s\nwant\n%s (%v)", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
	}
}

// TestRevoked: who loses the right to watch gets no record from then on.
func TestRevoked(t *testing.T) {
	t.Parallel()
	r := start(t, time.Hour)
	r.add("A")
	res, next := r.open("alice", "after=0")
	if l := next(); l.Event.EventName != "A" {
		t.Fatalf("%+v", l.Event)
	}
	if l := next(); l.Event.EventName != "TailEvents" {
		t.Fatalf("%+v", l.Event)
	}
	r.auth.revoked.Store(true)
	r.add("B")
	rest, err := io.ReadAll(res.Body)
	if err != nil || len(rest) != 0 {
		t.Errorf("after it: %q, %v", rest, err)
	}
}

// TestHeartbeat: a client whose filter matches nothing learns how far it is.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	r := start(t, 20*time.Millisecond)
	r.add("A")
	_, next := r.open("alice", "after=0&where=eventName%3Dnothing")
	for {
		if l := next(); l.Event != nil {
			t.Fatalf("%+v", l.Event)
		} else if l.Seq == 3 { // two records and that of the call itself
			break
		}
	}
	r.stop()
}

// TestSlowClient: one that reads nothing holds up neither the recorder nor
// another client.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	r := start(t, time.Hour)
	u, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	slow, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := fmt.Fprintf(slow, "GET /?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	const records = 3000 // some megabytes, above what the kernel takes
	big := `{"x":"` + strings.Repeat("y", 4000) + `"}`
	for range records {
		if err := r.jr.Append(journal.Group{Entries: []journal.Entry{entry(account, "Big", big)}}); err != nil {
			t.Fatal(err)
		}
	}
	_, next := r.open("alice", "after=0&where=eventName%3DBig")
	for range records {
		next()
	}
}
