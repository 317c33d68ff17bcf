package trail

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/call"
	"spoor/internal/kv"
	"spoor/internal/notify"
)

const (
	topic    = "arn:aws:sns:us-east-1:123456789012:trail-topic"
	logGroup = "arn:aws:logs:us-east-1:123456789012:log-group:ct:*"
	logRole  = "arn:aws:iam::123456789012:role/ct"
)

func newNotifyRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, fs: vfs.NewMem(), bucket: newMemory(), now: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC),
		settings: &notify.Settings{
			Topics:    []notify.Topic{{ARN: topic, Endpoint: "http://127.0.0.1:1/"}},
			LogGroups: []notify.LogGroup{{ARN: logGroup, File: filepath.Join(t.TempDir(), "ct.jsonl")}}}}
	r.open()
	return r
}

func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	r.open()
}

// owed lists the bodies of what topics are owed, with the target of each that
// is not the declared one.
func (r *rig) owed() []string {
	r.t.Helper()
	var out []string
	targets := r.notify.Outbox().Targets()
	slices.Sort(targets)
	for _, target := range targets {
		for {
			b, err := r.notify.Outbox().Source(target).Next(r.t.Context())
			if err != nil {
				r.t.Fatal(err)
			}
			if len(b.Messages) == 0 {
				break
			}
			text := string(b.Messages[0].Body)
			if !strings.HasPrefix(target, "sns:"+topic+"/") {
				text = target + " " + text
			}
			out = append(out, text)
			batch := r.store.NewBatch()
			b.Done(batch, 1)
			if err := r.jr.Commit(batch); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	return out
}

// TestOwesNotifications: each delivered log file makes its topic be owed one
// message, whatever the uploads go through and though the server starts anew in
// between; a digest makes none.
func TestOwesNotifications(t *testing.T) {
	t.Parallel()
	r := newNotifyRig(t)
	defer func() { r.close() }()
	r.bucket.fault = func(n int) fault { return fault(n % 3) }
	r.put("CreateTrail", func(s *State) { s.Settings.Topic = topic })
	r.start()
	for range 3 {
		r.event(home)
		r.step(0)
		r.step(20 * time.Second)
		r.step(time.Minute)
		r.reopen()
	}
	// The topic that a file's own records name counts.
	r.event(home)
	r.put("UpdateTrail", func(s *State) { s.Settings.Topic = topic + "2" })
	r.event(home)
	r.stop()
	for range 40 {
		r.step(10 * time.Minute)
	}
	r.reopen()
	var want []string
	d := r.delivered()
	for key := range d.files {
		body, err := json.Marshal(map[string]any{"s3Bucket": bucket, "s3ObjectKey": []string{key}})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(body))
	}
	if len(d.digests) == 0 || len(want) < 4 {
		t.Fatalf("%d digests and %d files", len(d.digests), len(want))
	}
	var got []string
	other := 0
	for _, text := range r.owed() {
		rest, isOther := strings.CutPrefix(text, "sns:"+topic+"2 ")
		if isOther {
			other++
		}
		got = append(got, rest)
	}
	slices.Sort(want)
	// Each of both topics gets the validation message when a trail is given it.
	want = append([]string{validationMessage, validationMessage}, want...)
	slices.Sort(got)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("owed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if other != 2 {
		t.Errorf("the second topic is owed %d messages, want the validation and one file", other)
	}
	if owed := r.owed(); len(owed) > 0 {
		t.Errorf("still owed: %v", owed)
	}
}

// logReader drives a trail's log source as a loop does, with faults.
type logReader struct {
	r      *rig
	source *logSource
	got    []string // event ids
	done   bool
}

func (r *rig) logs() *logReader {
	l := &logReader{r: r}
	l.reopen()
	return l
}

func (l *logReader) reopen() {
	l.source = &logSource{m: l.r.m, arn: arn, home: home, account: account, name: "audit"}
}

// step takes one batch. With fail it is sent but not noted, otherwise all of it
// or, with partial, its first half is.
func (l *logReader) step(fail, partial bool) bool {
	t := l.r.t
	t.Helper()
	b, err := l.source.Next(t.Context())
	if errors.Is(err, notify.ErrDone) {
		l.done = true
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	n := len(b.Messages)
	if partial {
		n = (n + 1) / 2
	}
	group := ""
	for i, m := range b.Messages {
		var rec struct{ EventID, AwsRegion string }
		if err := json.Unmarshal(m.Body, &rec); err != nil || rec.EventID != m.ID {
			t.Errorf("record %s has the id %s, %v", m.Body, m.ID, err)
		}
		if want := account + "_CloudTrail_" + rec.AwsRegion; m.Attributes[notify.AttrLogStream] != want {
			t.Errorf("stream %q, want %q", m.Attributes[notify.AttrLogStream], want)
		}
		if g := m.Attributes[notify.AttrLogGroup]; i > 0 && g != group {
			t.Errorf("a batch for %s and %s", group, g)
		} else {
			group = g
		}
		if i < n {
			l.got = append(l.got, m.ID)
		}
	}
	batch := l.r.store.NewBatch()
	if !fail {
		b.Done(batch, n)
	}
	if err := l.r.jr.Commit(batch); err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// firsts drops repetitions.
func firsts(ids []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, id := range ids {
		if !seen[id] {
			out = append(out, id)
		}
		seen[id] = true
	}
	return out
}

// TestLogGroupGetsWhatFilesHold: over random changes of a trail, batches that
// fail or are noted in part, and restarts, its log group gets the records that
// its log files hold, all of them, in order.
func TestLogGroupGetsWhatFilesHold(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			r := newNotifyRig(t)
			defer func() { r.close() }()
			r.put("CreateTrail", func(s *State) {
				s.Settings.LogGroup, s.Settings.LogRole = logGroup, logRole
				s.Settings.Insights = []Insight{{"ApiCallRateInsight", []string{"Management"}}}
			})
			l := r.logs()
			var order []string
			for range 120 {
				switch random.IntN(10) {
				case 9:
					order = append(order, r.insight("ApiCallRateInsight", "Management", ""))
				case 0:
					order = append(order, r.put("UpdateTrail", func(s *State) { s.Settings.MultiRegion = !s.Settings.MultiRegion }))
				case 1:
					order = append(order, r.put("PutEventSelectors", func(s *State) {
						s.Settings.Selectors = Selectors{Basic: []BasicSelector{{ReadWrite: []ReadWrite{All, ReadOnly, WriteOnly}[random.IntN(3)], IncludeManagement: random.IntN(4) > 0}}}
					}))
				case 2:
					order = append(order, r.start())
				case 3:
					order = append(order, r.stop())
				case 4:
					r.step(20 * time.Second)
				case 5:
					r.reopen()
					l.reopen()
				case 6:
					l.step(random.IntN(3) == 0, random.IntN(2) == 0)
				default:
					order = append(order, r.event([]string{home, "eu-west-1"}[random.IntN(2)]))
				}
			}
			order = append(order, r.stop())
			for range 30 {
				r.step(time.Hour)
			}
			for l.done = false; !l.done; {
				l.step(false, false)
			}
			want := slices.DeleteFunc(order, func(id string) bool { return r.delivered().ids[id] == 0 })
			if got := firsts(l.got); !reflect.DeepEqual(got, want) {
				t.Errorf("the log group got\n%v\nwant\n%v", got, want)
			}
			if _, err := r.store.Get(kv.Key(kv.SpaceCursor, logCursorName(arn))); !errors.Is(err, kv.ErrNotFound) {
				t.Errorf("the cursor is still there: %v", err)
			}
		})
	}
}

// TestLogGroupComesAndGoes: records go to the group that is set at the time of
// each, and a deleted trail's to none after that.
func TestLogGroupComesAndGoes(t *testing.T) {
	t.Parallel()
	r := newNotifyRig(t)
	defer func() { r.close() }()
	r.start()
	r.event(home) // to no group
	want := []string{r.put("UpdateTrail", func(s *State) { s.Settings.LogGroup = logGroup }), r.event(home),
		r.put("UpdateTrail", func(s *State) { s.Settings.LogGroup = "" })}
	r.event(home)
	want = append(want, r.put("UpdateTrail", func(s *State) { s.Settings.LogGroup = logGroup }))
	want = append(want, r.do(home, &testStep{name: "DeleteTrail", source: "cloudtrail.amazonaws.com", fn: func(c *call.Call) error {
		r.m.Lock(c)
		return r.m.Delete(c, r.m.Trail(arn))
	}}))
	r.event(home)
	l := r.logs()
	for !l.done {
		l.step(false, false)
	}
	if !reflect.DeepEqual(l.got, want) {
		t.Errorf("the log group got %v, want %v", l.got, want)
	}
}

// TestLogCursorMoves: a trail that selects little keeps the journal no longer
// than it must, and what it is owed from being trimmed.
func TestLogCursorMoves(t *testing.T) {
	t.Parallel()
	r := newNotifyRig(t)
	defer func() { r.close() }()
	r.put("CreateTrail", func(s *State) { s.Settings.LogGroup, s.Settings.LogRole = logGroup, logRole })
	r.start()
	owed := r.event(home)
	l := r.logs()
	l.step(false, false)
	if cursor, err := r.jr.Cursor(logCursorName(arn)); err != nil || cursor != r.jr.Head() {
		t.Errorf("the cursor is at %d of %d, %v", cursor, r.jr.Head(), err)
	}
	if got := l.got[len(l.got)-1]; got != owed {
		t.Errorf("got %s, want %s", got, owed)
	}
	last := r.event(home)
	r.step(time.Hour)
	if to, err := r.jr.Trim(r.jr.Head()); err != nil || to >= r.jr.Head() {
		t.Errorf("trimmed to %d of %d, %v", to, r.jr.Head(), err)
	}
	l.step(false, false)
	if got := l.got[len(l.got)-1]; got != last {
		t.Errorf("got %s, want %s", got, last)
	}
}

// TestLogRoleAtDelivery: the role is asked for each batch.
func TestLogRoleAtDelivery(t *testing.T) {
	t.Parallel()
	r := newNotifyRig(t)
	defer func() { r.close() }()
	role := ""
	r.roles = fakeRoles{untrusted: &role}
	r.reopen()
	r.put("CreateTrail", func(s *State) { s.Settings.LogGroup, s.Settings.LogRole = logGroup, logRole })
	r.start()
	l := r.logs()
	b, err := l.source.Next(t.Context())
	if err != nil || len(b.Messages) == 0 {
		t.Fatalf("%+v, %v", b, err)
	}
	s := logSender{r.notify.LogSender(), l.source}
	role = logRole
	if err := s.Send(t.Context(), b.Messages); !errors.Is(err, notify.ErrDenied) || errors.Is(err, notify.ErrPermanent) {
		t.Errorf("without the role: %v", err)
	}
	role = ""
	if err := s.Send(t.Context(), b.Messages); err != nil {
		t.Errorf("with the role: %v", err)
	}
}
