package kv

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestTrouble: errors that go on end the process, after they were logged now
// and then; errors that stop do not.
func TestTrouble(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var fatal string
	now := time.Unix(1000, 0)
	w := &trouble{log: slog.New(slog.NewTextHandler(&log, nil)), fatal: func(msg string) { fatal = msg },
		now: func() time.Time { return now }, pause: func(d time.Duration) { now = now.Add(d) }}
	full := errors.New("no space left on device")
	for end := now.Add(patience - time.Second); now.Before(end); {
		w.failed(full)
	}
	w.ended(full)
	if fatal != "" {
		t.Fatalf("ended after less than %s: %s", patience, fatal)
	}
	if n := strings.Count(log.String(), "free space"); n < 5 || n > 10 {
		t.Errorf("%d lines in %s", n, patience)
	}
	w.ended(nil)
	for end := now.Add(patience - time.Second); now.Before(end); {
		w.failed(full)
	}
	now = now.Add(lull + time.Second)
	w.failed(full)
	if fatal != "" {
		t.Fatal("ended although writing had worked again, or had not been tried for a while")
	}
	for end := now.Add(patience + time.Second); now.Before(end) && fatal == ""; {
		w.failed(full)
	}
	if !strings.Contains(fatal, "Free space") || !strings.Contains(fatal, "no space left") {
		t.Errorf("ended with %q", fatal)
	}
}

// TestFullDisk: the engine's own failure to write tables arrives here, and what
// was written before is there once the disk has room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	var full atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && strings.HasSuffix(op.Path, ".sst") && op.Kind == errorfs.OpFileWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	log := make(chan string, 64)
	s, err := Open("store", Options{FS: fs, Logger: slog.New(slog.NewTextHandler(lines(log), nil))})
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	b.Set([]byte("k"), []byte("v"))
	if err := b.Raw().Commit(nil); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if _, err := s.DB().AsyncFlush(); err != nil {
		t.Fatal(err)
	}
	for line := range log {
		if strings.Contains(line, "the store cannot be written") {
			break
		}
	}
	full.Store(false)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open("store", Options{FS: mem}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Errorf("%q, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// lines is a log that never waits.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}
