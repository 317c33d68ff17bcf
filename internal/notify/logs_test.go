package notify

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"spoor/internal/kv"
)

// logsServer is CloudWatch Logs as far as PutLogEvents goes.
type logsServer struct {
	*httptest.Server
	mu      sync.Mutex
	streams map[string][]inputLogEvent // by group and stream; a group's own entry is nil
	calls   []string
	auth    []string
	fault   func(n int, operation string) (takes bool, status int, body string)
}

func newLogsServer(t *testing.T, fault func(n int, operation string) (bool, int, string)) *logsServer {
	t.Helper()
	s := &logsServer{streams: map[string][]inputLogEvent{}, fault: fault}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "Logs_20140328.")
		n := len(s.calls)
		s.calls = append(s.calls, operation)
		s.auth = append(s.auth, r.Header.Get("Authorization"))
		takes, status, body := true, 0, ""
		if s.fault != nil {
			takes, status, body = s.fault(n, operation)
		}
		if takes {
			if code := s.do(t, operation, raw); code != "" && status == 0 {
				status, body = http.StatusBadRequest, `{"__type":"`+code+`","message":"no"}`
			}
		}
		switch status {
		case 0:
			_, _ = w.Write([]byte(`{}`))
		case -1:
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(s.Close)
	return s
}

// do returns an error's code, or "".
func (s *logsServer) do(t *testing.T, operation string, raw []byte) string {
	var in putLogEvents
	if err := json.Unmarshal(raw, &in); err != nil {
		t.Errorf("%s with %q: %v", operation, raw, err)
	}
	_, hasGroup := s.streams[in.Group]
	key := in.Group + "/" + in.Stream
	_, hasStream := s.streams[key]
	switch {
	case operation == "CreateLogGroup" && hasGroup, operation == "CreateLogStream" && hasStream:
		return "ResourceAlreadyExistsException"
	case operation == "CreateLogGroup":
		s.streams[in.Group] = nil
	case !hasGroup:
		return "com.amazonaws.logs#ResourceNotFoundException"
	case operation == "CreateLogStream":
		s.streams[key] = nil
	case !hasStream:
		return "ResourceNotFoundException"
	default:
		s.streams[key] = append(s.streams[key], in.Events...)
	}
	return ""
}

func (w *world) events(t *testing.T, m *Manager, region string, texts ...string) {
	t.Helper()
	for i, text := range texts {
		b := w.store.NewBatch()
		m.outbox.Owe(b, "logs", "owner", Message{ID: text, Time: w.clock.now().Add(time.Duration(i) * time.Second), Body: []byte(text),
			Attributes: map[string]string{AttrLogGroup: testGroup, AttrLogStream: LogStream("123456789012", region)}})
		if err := w.store.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) logLoop(m *Manager) *Loop {
	l := w.loop("logs", m.LogSender(), Retry{})
	l.Kind, l.Source = KindLogs, m.outbox.Source("logs")
	return l
}

func texts(events []inputLogEvent) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.Message)
	}
	return out
}

// TestPutLogEvents: group and stream are made when they are missing, the
// request is signed, and after a fault of either form the events are there.
func TestPutLogEvents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault func(n int, operation string) (bool, int, string)
		want  []string
	}{
		{"none", nil, []string{"a", "b"}},
		{"not taken", func(n int, _ string) (bool, int, string) {
			return n > 0, map[bool]int{true: 500}[n == 0], ""
		}, []string{"a", "b"}},
		{"taken, answered with an error", func(n int, op string) (bool, int, string) {
			return true, map[bool]int{true: 500}[n == 4], ""
		}, []string{"a", "a", "b"}},
		{"taken, connection cut", func(n int, op string) (bool, int, string) {
			return true, map[bool]int{true: -1}[n == 4], ""
		}, []string{"a", "a", "b"}},
		{"the second event is invalid", func(n int, op string) (bool, int, string) {
			return n < 5, map[bool]int{true: 400}[n == 5], `{"__type":"InvalidParameterException"}`
		}, []string{"a"}},
		{"throttled", func(n int, op string) (bool, int, string) {
			return n > 1, map[bool]int{true: 400}[n < 2], `{"__type":"ThrottlingException"}`
		}, []string{"a", "b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := newLogsServer(t, tc.fault)
			dir := t.TempDir()
			for name, text := range map[string]string{"secret": "very secret\n", "token": "session\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m := w.manager(t, &Settings{LogGroups: []LogGroup{{ARN: testGroup, Endpoint: s.URL,
				Credentials: &Credentials{"AKIAEXAMPLE", filepath.Join(dir, "secret"), filepath.Join(dir, "token")}}}})
			w.events(t, m, "eu-west-1", "a", "b")
			drained(t, w.logLoop(m))
			got := texts(s.streams["ct/123456789012_CloudTrail_eu-west-1"])
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("the log group has %v, want %v; calls %v", got, tc.want, s.calls)
			}
			for _, a := range s.auth {
				if !strings.HasPrefix(a, "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260301/us-east-1/logs/aws4_request") {
					t.Errorf("authorization %q", a)
				}
			}
			if d := w.deadLetters(t); len(d) != 2-len(firsts(tc.want)) {
				t.Errorf("dead letters: %+v", d)
			}
		})
	}
}

// firsts drops repetitions.
func firsts(texts []string) []string { return slices.Compact(slices.Clone(texts)) }

// TestPutLogEventsSignature: the signature is over what is sent.
func TestPutLogEventsSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = rw.Write([]byte(`{"nextSequenceToken":"1"}`))
	}))
	defer server.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("very secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := w.manager(t, &Settings{LogGroups: []LogGroup{{ARN: testGroup, Endpoint: server.URL, Credentials: &Credentials{AccessKeyID: "AKIAEXAMPLE", SecretKeyFile: secret}}}})
	w.events(t, m, "us-east-1", "a")
	drained(t, w.logLoop(m))
	if got == nil {
		t.Fatal("no request came")
	}
	again, err := http.NewRequest(http.MethodPost, server.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"Content-Type", "X-Amz-Target"} {
		again.Header.Set(h, got.Header.Get(h))
	}
	err = v4.NewSigner().SignHTTP(t.Context(), sdkaws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "very secret"}, again,
		fmt.Sprintf("%x", sha256.Sum256(body)), "logs", "us-east-1", w.clock.now())
	if err != nil || again.Header.Get("Authorization") != got.Header.Get("Authorization") {
		t.Errorf("authorization %q, want %q; %v", got.Header.Get("Authorization"), again.Header.Get("Authorization"), err)
	}
}

// TestRejectedEvents: events that CloudWatch Logs will never take become dead
// letters, they alone, and hold up nothing.
func TestRejectedEvents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		answer string
		want   []string
	}{
		{`{}`, nil},
		{`{"rejectedLogEventsInfo":{"expiredLogEventEndIndex":1}}`, []string{"a"}},
		{`{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":2,"expiredLogEventEndIndex":1,"tooNewLogEventStartIndex":3}}`, []string{"a", "b", "d"}},
		{`{"rejectedLogEventsInfo":{"tooNewLogEventStartIndex":0}}`, []string{"a", "b", "c", "d"}},
		{`{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":99,"tooNewLogEventStartIndex":-5}}`, []string{"a", "b", "c", "d"}},
	} {
		w := newWorld(t)
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write([]byte(tc.answer))
		}))
		defer server.Close()
		m := w.manager(t, &Settings{LogGroups: []LogGroup{{ARN: testGroup, Endpoint: server.URL}}})
		attrs := map[string]string{AttrLogGroup: testGroup, AttrLogStream: "s"}
		var batch []Message
		for i, text := range []string{"d", "c", "b", "a"} { // the newest first: they are sent in order of time
			batch = append(batch, Message{ID: text, Time: w.clock.now().Add(-time.Duration(i) * time.Second), Body: []byte(text), Attributes: attrs})
		}
		given := false
		l := w.logLoop(m)
		l.Source = sourceFunc(func() (Batch, error) {
			if given {
				return Batch{}, ErrDone
			}
			return Batch{Messages: batch, Owner: "o", Done: func(_ *kv.Batch, n int) { given = n == len(batch) }}, nil
		})
		if err := l.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range w.deadLetters(t) {
			got = append(got, d.Message.ID)
		}
		slices.Sort(got)
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: dead letters %v, want %v", tc.answer, got, tc.want)
		}
	}
}

// TestSplitEvents: each part obeys PutLogEvents' limits, in order of time.
func TestSplitEvents(t *testing.T) {
	t.Parallel()
	day := maxLogBatchSpan.Milliseconds()
	many := make([]inputLogEvent, maxLogBatchEvents+1)
	big := strings.Repeat("x", MaxLogEvent)
	for _, tc := range []struct {
		name   string
		events []inputLogEvent
		want   []int
	}{
		{"order", []inputLogEvent{{3, "c", 0}, {1, "a", 1}, {2, "b", 2}}, []int{3}},
		{"number", many, []int{maxLogBatchEvents, 1}},
		{"span", []inputLogEvent{{0, "a", 0}, {day, "b", 0}, {day + 1, "c", 0}}, []int{2, 1}},
		{"size", []inputLogEvent{{0, big, 0}, {0, big, 0}, {0, big, 0}, {0, big, 0}, {0, big, 0}}, []int{3, 2}},
		{"exact size", []inputLogEvent{{0, big[26:], 0}, {0, big[26:], 0}, {0, big[26:], 0}, {0, big[26:], 0}, {0, "", 0}}, []int{4, 1}},
	} {
		var got []int
		var all []inputLogEvent
		for _, part := range splitEvents(tc.events) {
			got = append(got, len(part))
			all = append(all, part...)
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: parts of %v, want %v", tc.name, got, tc.want)
		}
		for i := 1; i < len(all); i++ {
			if all[i].Timestamp < all[i-1].Timestamp {
				t.Errorf("%s: event %d is older than the one before", tc.name, i)
			}
		}
	}
}

// TestLogFile: a file gets the events of all groups that name it, as lines, and
// goes on after a rotation.
func TestLogFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name := filepath.Join(t.TempDir(), "ct.jsonl")
	m := w.manager(t, &Settings{LogGroups: []LogGroup{{ARN: testGroup, File: name}, {ARN: strings.Replace(testGroup, ":ct:", ":other:", 1), File: name}}})
	w.events(t, m, "us-east-1", `{"a":"<&>"}`)
	drained(t, w.logLoop(m))
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	w.events(t, m, "eu-west-1", `{"b":1}`)
	drained(t, w.logLoop(m))
	for file, want := range map[string]string{
		name + ".1": `{"logGroup":"ct","logStream":"123456789012_CloudTrail_us-east-1","timestamp":1772366400000,"message":"{\"a\":\"<&>\"}","ingestionTime":1772366400000,"eventId":"{\"a\":\"<&>\"}"}`,
		name:        `{"logGroup":"ct","logStream":"123456789012_CloudTrail_eu-west-1","timestamp":1772366400000,"message":"{\"b\":1}","ingestionTime":1772366400000,"eventId":"{\"b\":1}"}`,
	} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want+"\n" {
			t.Errorf("%s holds\n%s, %v; want\n%s", filepath.Base(file), got, err, want)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
	if _, err := Open(Config{Settings: &Settings{LogGroups: []LogGroup{{ARN: testGroup, File: filepath.Join(name, "not-a-directory")}}},
		Store: w.store, Commit: committer{w.store}, Now: w.clock.now}); err == nil {
		t.Error("a file that cannot be written was accepted")
	}
}

// TestUndeclaredGroup: a log group that the settings do not have is no reason to
// lose what it is owed before its time.
func TestUndeclaredGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.manager(t, &Settings{})
	err := m.LogSender().Send(t.Context(), []Message{{Attributes: map[string]string{AttrLogGroup: testGroup}}})
	if !errors.Is(err, ErrNotDeclared) || errors.Is(err, ErrPermanent) {
		t.Errorf("error %v", err)
	}
}
