package notify

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"spoor/internal/kv"
)

type committer struct{ *kv.Store }

func (c committer) Commit(b *kv.Batch) error { return c.Apply(b) }

func openStore(t *testing.T, dir string) *kv.Store {
	t.Helper()
	s, err := kv.Open(dir, kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // closed already where a test reopens it
	return s
}

// scripted is a target: each attempt gets the next outcome, and the last one
// for good. took is what reached it, acknowledged or not.
type scripted struct {
	mu       sync.Mutex
	outcomes []outcome
	took     []string
	closed   bool
}

type outcome struct {
	takes bool // the target has the batch
	err   error
}

func (s *scripted) Send(_ context.Context, batch []Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.outcomes[0]
	if len(s.outcomes) > 1 {
		s.outcomes = s.outcomes[1:]
	}
	if o.takes {
		for _, m := range batch {
			s.took = append(s.took, m.ID)
		}
	}
	return o.err
}

func (s *scripted) Close() error { s.closed = true; return nil }

// clock is a time that pauses move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pause(ctx context.Context, d time.Duration, _ <-chan struct{}) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
	return ctx.Err() == nil
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

type world struct {
	store  *kv.Store
	outbox *Outbox
	dead   *DeadLetters
	board  *Board
	clock  *clock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{store: openStore(t, filepath.Join(t.TempDir(), "store")), clock: newClock()}
	w.dead = OpenDeadLetters(filepath.Join(t.TempDir(), "dead.jsonl"))
	w.reopen(t)
	return w
}

func (w *world) reopen(t *testing.T) {
	t.Helper()
	var err error
	if w.outbox, err = OpenOutbox(w.store); err != nil {
		t.Fatal(err)
	}
	w.board = NewBoard(w.store)
}

func (w *world) owe(t *testing.T, target string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		b := w.store.NewBatch()
		done := w.outbox.Owe(b, target, "owner", Message{ID: id, Time: w.clock.now(), Body: []byte("body of " + id)})
		if err := w.store.Apply(b); err != nil {
			t.Fatal(err)
		}
		done()
	}
}

func (w *world) loop(target string, s Sender, r Retry) *Loop {
	return &Loop{Target: target, Kind: KindSNS, Source: w.outbox.Source(target), Sender: s, Retry: r, Store: w.store,
		Commit: committer{w.store}, Dead: w.dead, Board: w.board, Log: slog.New(slog.DiscardHandler), Now: w.clock.now, pause: w.clock.pause}
}

// drained runs a loop until its target is owed nothing.
func drained(t *testing.T, l *Loop) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.Source = &untilEmpty{l.Source, cancel}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

type untilEmpty struct {
	Source
	cancel context.CancelFunc
}

func (u *untilEmpty) Wait(ctx context.Context) error { u.cancel(); return ctx.Err() }

func (w *world) deadLetters(t *testing.T) []deadLetter {
	t.Helper()
	f, err := os.Open(w.dead.Name())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []deadLetter
	for s := bufio.NewScanner(f); s.Scan(); {
		var d deadLetter
		if err := json.Unmarshal(s.Bytes(), &d); err != nil {
			t.Fatalf("line %q: %v", s.Text(), err)
		}
		out = append(out, d)
	}
	return out
}

// TestFaults injects each fault in both forms: the target did not take the
// batch, and it took it but the answer was lost.
func TestFaults(t *testing.T) {
	t.Parallel()
	fault := errors.New("connection reset")
	for _, tc := range []struct {
		name     string
		outcomes []outcome
		want     []string
	}{
		{"no fault", []outcome{{true, nil}}, []string{"a", "b", "c"}},
		{"not taken", []outcome{{true, nil}, {false, fault}, {false, fault}, {true, nil}}, []string{"a", "b", "c"}},
		{"taken, but reported failed", []outcome{{true, nil}, {true, fault}, {true, nil}}, []string{"a", "b", "b", "c"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.owe(t, "x", "a", "b", "c")
			s := &scripted{outcomes: tc.outcomes}
			drained(t, w.loop("x", s, Retry{}))
			if !reflect.DeepEqual(s.took, tc.want) {
				t.Errorf("the target took %v, want %v", s.took, tc.want)
			}
			if !s.closed {
				t.Error("the sender was not closed")
			}
			if d := w.deadLetters(t); len(d) > 0 {
				t.Errorf("dead letters: %+v", d)
			}
			if st, err := w.board.Get(KindSNS, "owner"); err != nil || st.LastError != "" || !st.LastSuccess.Equal(w.clock.now()) {
				t.Errorf("status %+v, %v", st, err)
			}
		})
	}
}

// TestGivesUp: after the last attempt, the greatest age or a refusal for good
// the message is in the dead-letter file and what is behind it goes on.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	fault := errors.New("503 Service Unavailable")
	for _, tc := range []struct {
		name     string
		outcomes []outcome
		retry    Retry
		took     []string
		attempts []int
	}{
		{"attempts", []outcome{{false, fault}, {false, fault}, {false, fault}, {true, nil}}, Retry{MaxAttempts: 3}, []string{"b", "c"}, []int{3}},
		{"for good", []outcome{{false, fmt.Errorf("413: %w", ErrPermanent)}, {true, nil}}, Retry{}, []string{"b", "c"}, []int{1}},
		{"age", []outcome{{false, fault}}, Retry{MaxAge: 10 * time.Second}, nil, []int{5, 0, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.owe(t, "x", "a", "b", "c")
			s := &scripted{outcomes: tc.outcomes}
			drained(t, w.loop("x", s, tc.retry))
			if !reflect.DeepEqual(s.took, tc.took) {
				t.Errorf("the target took %v, want %v", s.took, tc.took)
			}
			dead := w.deadLetters(t)
			if len(dead) != len(tc.attempts) {
				t.Fatalf("%d dead letters, want %d: %+v", len(dead), len(tc.attempts), dead)
			}
			for i, d := range dead {
				id := []string{"a", "b", "c"}[i]
				if d.Message.ID != id || *d.Message.Text != "body of "+id || d.Target != "x" || d.Error == "" {
					t.Errorf("dead letter %d: %+v", i, d)
				}
				// Pauses vary by a fifth, so the number of attempts within an age does.
				if want := tc.attempts[i]; tc.name == "age" && i == 0 && (d.Attempts < 4 || d.Attempts > 6) || tc.name != "age" && d.Attempts != want {
					t.Errorf("dead letter %d after %d attempts, want %d", i, d.Attempts, want)
				}
			}
			if info, err := os.Stat(w.dead.Name()); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if st, _ := w.board.Get(KindSNS, "owner"); (st.LastError != "") != (tc.took == nil) {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// TestRestart: what was owed when a process ended is sent by the next, after
// the attempts that were made before.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.owe(t, "x", "a", "b")
	fault := errors.New("refused")
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	s := &scripted{outcomes: []outcome{{false, fault}}}
	l := w.loop("x", s, Retry{MaxAttempts: 5})
	l.pause = func(context.Context, time.Duration, <-chan struct{}) bool {
		if tries++; tries == 3 {
			cancel()
		}
		return true
	}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	w.reopen(t)
	w.owe(t, "x", "c")
	s = &scripted{outcomes: []outcome{{false, fault}, {false, fault}, {true, nil}}}
	drained(t, w.loop("x", s, Retry{MaxAttempts: 5}))
	if want := []string{"b", "c"}; !reflect.DeepEqual(s.took, want) {
		t.Errorf("the target took %v, want %v", s.took, want)
	}
	if d := w.deadLetters(t); len(d) != 1 || d[0].Message.ID != "a" || d[0].Attempts != 5 {
		t.Errorf("dead letters: %+v", d)
	}
}

// TestTargetsAreApart: a target that does not answer delays no other.
func TestTargetsAreApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.owe(t, "slow", "a")
	w.owe(t, "quick", "b")
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = w.loop("slow", senderFunc(func(ctx context.Context, _ []Message) error {
			close(entered)
			<-ctx.Done()
			return ctx.Err()
		}), Retry{}).Run(ctx)
	})
	<-entered
	s := &scripted{outcomes: []outcome{{true, nil}}}
	drained(t, w.loop("quick", s, Retry{}))
	if want := []string{"b"}; !reflect.DeepEqual(s.took, want) {
		t.Errorf("the target took %v, want %v", s.took, want)
	}
	cancel()
	wg.Wait()
	if b, err := w.outbox.Source("slow").Next(t.Context()); err != nil || len(b.Messages) != 1 {
		t.Errorf("what was under way is no longer owed: %+v, %v", b, err)
	}
}

type senderFunc func(ctx context.Context, batch []Message) error

func (f senderFunc) Send(ctx context.Context, batch []Message) error { return f(ctx, batch) }
func (senderFunc) Close() error                                      { return nil }

// TestAppendFile: a torn line spoils only itself, and a file that was renamed
// or cut gets a successor.
func TestAppendFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(name, []byte("one\ntor"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := appendFile{name: name, mode: 0o600}
	add := func(s string) {
		t.Helper()
		if err := f.append([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(name, want string) {
		t.Helper()
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v; want %q", filepath.Base(name), got, err, want)
		}
	}
	add("two\n")
	is(name, "one\ntor\ntwo\n")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	add("three\n")
	is(name+".1", "one\ntor\ntwo\n")
	is(name, "three\n")
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	add("four\n")
	is(name, "four\n")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.append([]byte("five\n")); err == nil {
		t.Error("a line was appended to a directory")
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	add("six\n")
	is(name, "six\n")
}
