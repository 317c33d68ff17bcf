package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/notify"
	"spoor/internal/record"
)

const accountID = "123456789012"

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

var alice = &aws.Caller{Type: aws.IAMUser, AccountID: accountID, PrincipalID: "AIDA", ARN: "arn:aws:iam::123456789012:user/alice",
	UserName: "alice", AccessKeyID: "AKIAALICE"}

// world is a journal with loops behind it.
type world struct {
	fs      vfs.FS
	store   *kv.Store
	journal *journal.Journal
	dead    *notify.DeadLetters
	n       int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{fs: vfs.NewMem(), dead: notify.OpenDeadLetters(filepath.Join(t.TempDir(), "dead.jsonl"))}
	w.open(t)
	t.Cleanup(w.close)
	return w
}

func (w *world) open(t testing.TB) {
	t.Helper()
	var err error
	if w.store, err = kv.Open("store", kv.Options{FS: w.fs}); err != nil {
		t.Fatal(err)
	}
	if w.journal, err = journal.Open(w.store, quiet); err != nil {
		t.Fatal(err)
	}
}

func (w *world) close() {
	_ = w.journal.Close()
	_ = w.store.Close()
}

// restart is what a crash and a start make of the world: nothing is kept but
// what is on disk.
func (w *world) restart(t testing.TB) {
	t.Helper()
	w.close()
	w.open(t)
}

// add records one call. Unset fields are those of a StartQueryExecution.
func (w *world) add(t testing.TB, rec record.Record) string {
	t.Helper()
	w.n++
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&rec.EventSource, "athena.amazonaws.com")
	set(&rec.EventName, "StartQueryExecution")
	set(&rec.Region, "us-east-1")
	set(&rec.AccountID, accountID)
	set(&rec.EventID, fmt.Sprintf("00000000-0000-4000-8000-%012d", w.n))
	if rec.Caller == nil {
		rec.Caller = alice
	}
	if rec.EventTime.IsZero() {
		rec.EventTime = time.Now()
	}
	data, _ := rec.AppendEntry(nil, nil)
	if err := w.journal.Append(journal.Group{Entries: []journal.Entry{{Account: rec.AccountID, Region: rec.Region, Data: data}}}); err != nil {
		t.Fatal(err)
	}
	return rec.EventID
}

// loops makes the loops of rules written as JSON.
func (w *world) loops(t testing.TB, rules string) []*notify.Loop {
	t.Helper()
	parsed, err := Parse(json.RawMessage(rules), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	loops, err := Loops(Config{Rules: parsed, Journal: w.journal, Store: w.store, Log: quiet, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loops {
		l.Dead, l.Log, l.Now = w.dead, quiet, time.Now
		t.Cleanup(func() { _ = l.Sender.Close() })
	}
	return loops
}

// attempt does what a loop does once, without its pauses.
func (w *world) attempt(ctx context.Context, t testing.TB, l *notify.Loop) (sent int, err error) {
	t.Helper()
	batch, nerr := l.Source.Next(ctx)
	if nerr != nil {
		t.Fatal(nerr)
	}
	if len(batch.Messages) > 0 {
		err = l.Sender.Send(ctx, batch.Messages)
	}
	if batch.Done == nil {
		return 0, err
	}
	if err == nil {
		sent = len(batch.Messages)
	}
	b := w.store.NewBatch()
	batch.Done(b, sent)
	if cerr := w.journal.Commit(b); cerr != nil {
		t.Fatal(cerr)
	}
	return sent, err
}

// drain attempts until nothing is owed.
func (w *world) drain(t testing.TB, l *notify.Loop) {
	t.Helper()
	for {
		n, err := w.attempt(t.Context(), t, l)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func next(t testing.TB, l *notify.Loop) []notify.Message {
	t.Helper()
	b, err := l.Source.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b.Messages
}

// lossy is a listener whose connections, while lose is set, take everything and
// answer nothing.
type lossy struct {
	net.Listener
	lose atomic.Bool
}

func listen(t testing.TB) *lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &lossy{Listener: l}
}

func (l *lossy) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lossyConn{c, l}, nil
}

type lossyConn struct {
	net.Conn
	l *lossy
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if c.l.lose.Load() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}
