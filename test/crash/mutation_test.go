package crash

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"spoor/internal/engine/pebble"
	"spoor/internal/kv"
)

// damage changes a stopped server's data and returns how to undo it.
type damage struct {
	name string
	want string // in a finding
	// verify says that `spoor verify` must see it too: it is in the bucket.
	verify bool
	do     func(w *world, e *evidence) (undo func() error, err error)
}

var damages = []damage{
	{"a log file is dropped", "times in the bucket", true, func(w *world, _ *evidence) (func() error, error) {
		return w.rewriteFile(func([]byte) ([]byte, error) { return nil, nil })
	}},
	{"a record is doubled", "is twice in the bucket", true, func(w *world, _ *evidence) (func() error, error) {
		return w.rewriteFile(func(plain []byte) ([]byte, error) {
			first, rest, ok := bytes.Cut(plain, []byte(`},{"eventVersion"`))
			_, one, ok2 := bytes.Cut(first, []byte(`{"Records":[`))
			if !ok || !ok2 {
				return nil, errors.New("the file does not begin with two records")
			}
			return slices.Concat([]byte(`{"Records":[`), one, []byte("},"), one, []byte(`},{"eventVersion"`), rest), nil
		})
	}},
	{"a record is changed", "in the event data store", true, func(w *world, _ *evidence) (func() error, error) {
		return w.rewriteFile(func(plain []byte) ([]byte, error) {
			return bytes.Replace(plain, []byte(`"sourceIPAddress":"127.0.0.1"`), []byte(`"sourceIPAddress":"127.0.0.2"`), 1), nil
		})
	}},
	{"a row of the event data store is removed", "is not in the event data store", false, func(w *world, e *evidence) (func() error, error) {
		return w.removeRow(kv.Key(kv.SpaceLake, "event", w.store), func(_, v []byte) bool { return e.has(v) })
	}},
	{"an audit event is removed", "times in its store", false, func(w *world, _ *evidence) (func() error, error) {
		return w.removeRow(kv.Key(kv.SpaceLake, "event", w.audits), func([]byte, []byte) bool { return true })
	}},
	{"a row of the index is removed", "is 0 times in event history", false, func(w *world, e *evidence) (func() error, error) {
		// A key ends in the event's time and number, both complemented; the week
		// (4 bytes) and the attribute follow the prefix, and 0 is the list of all
		// events. Those of the load are looked for, not those of the collecting.
		stopped, err := time.Parse(eventTime, e.stopped)
		if err != nil {
			return nil, err
		}
		return w.removeRow([]byte{byte(kv.SpaceHistory), 'w'}, func(k, _ []byte) bool {
			return k[6] == 0 && time.UnixMilli(int64(^binary.BigEndian.Uint64(k[len(k)-16:]))).Before(stopped.Add(-time.Second))
		})
	}},
	{"a written row is removed", "delivered Insert records", false, func(w *world, _ *evidence) (func() error, error) {
		return w.removeRow([]byte{byte(kv.SpaceCQL)}, func(_, v []byte) bool { return bytes.Contains(v, []byte("once")) })
	}},
}

// TestOracle: a run without kills has no findings, and each damage has.
func TestOracle(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server many times")
	}
	dir := t.TempDir()
	w := newWorld(t, build(t), filepath.Join(dir, "world"), false, rand.New(rand.NewPCG(1, 1)), newTally(), "--lake-file-interval", "24h")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	clients, err := w.start(ctx, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	timed, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	if w.srv.Ended(timed) {
		t.Fatal("the server ended by itself")
	}
	cancel()
	clients.wg.Wait()
	e := w.collect()
	w.report(e)
	if t.Failed() {
		t.Fatal("the undamaged world has findings")
	}
	lost := *e
	lost.ledger = newLedger()
	maps.Copy(lost.ledger.calls, e.ledger.calls)
	lost.ledger.calls["never-recorded"] = acknowledged{name: "Lost"}
	if !found(judge(&lost), "acknowledged Lost never-recorded is 0 times in the bucket") {
		t.Error("a call without a record is not found")
	}
	for _, d := range damages {
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) { w.suffer(t, e, d) })
	}
	again := *e
	w.t = t
	w.read(&again)
	w.report(&again)
}

// suffer does a damage, looks what is found, and undoes it.
func (w *world) suffer(t *testing.T, e *evidence, d damage) {
	w.t = t
	if err := w.srv.Stop(); err != nil {
		t.Fatal(err)
	}
	undo, err := d.do(w, e)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	damaged := *e
	w.problems = nil
	w.read(&damaged)
	findings := append(w.problems, judge(&damaged)...)
	w.problems = nil
	if !found(findings, d.want) {
		t.Errorf("%q is not found: %q", d.want, findings)
	}
	arn := fmt.Sprintf("arn:aws:cloudtrail:%s:%s:trail/%s", w.srv.Region, w.srv.Account, trail)
	out, code, err := w.srv.Spoor(t.Context(), "verify", "--trail-arn", arn, "--bucket", trail)
	if want := map[bool]int{true: 1}[d.verify]; err != nil || code != want {
		t.Errorf("verify exits %d, want %d (%v)\n%s", code, want, err, last(out, 1000))
	}
	if err := w.srv.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(undo(), w.srv.Start(context.Background())); err != nil {
		t.Fatal(err)
	}
}

func found(findings []string, text string) bool {
	return slices.ContainsFunc(findings, func(f string) bool { return strings.Contains(f, text) })
}

func (e *evidence) has(raw []byte) bool {
	ev, err := parseEvent(raw)
	return err == nil && slices.ContainsFunc(e.delivered, func(d event) bool { return d.EventID == ev.EventID })
}

// rewriteFile puts another content into a delivered log file; none removes it.
// Extended attributes, where the storage keeps metadata, stay.
func (w *world) rewriteFile(change func(plain []byte) ([]byte, error)) (undo func() error, err error) {
	var files []string
	err = filepath.WalkDir(filepath.Join(w.srv.Dir, "objects", trail), func(p string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(p, "/CloudTrail/") && strings.HasSuffix(p, ".json.gz") {
			files = append(files, p)
		}
		return err
	})
	if err != nil || len(files) < 2 {
		return nil, fmt.Errorf("%d log files are there: %w", len(files), err)
	}
	name := files[1]
	whole, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(whole))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	changed, err := change(plain)
	if err != nil {
		return nil, err
	}
	if changed == nil {
		away := w.srv.Dir + ".away"
		return func() error { return os.Rename(away, name) }, os.Rename(name, away)
	}
	if bytes.Equal(plain, changed) {
		return nil, errors.New("nothing was changed")
	}
	var b bytes.Buffer
	packed := gzip.NewWriter(&b)
	_, err = packed.Write(changed)
	if err = errors.Join(err, packed.Close(), os.WriteFile(name, b.Bytes(), 0o600)); err != nil {
		return nil, err
	}
	return func() error { return os.WriteFile(name, whole, 0o600) }, nil
}

// removeRow removes the first row below a prefix that fits.
func (w *world) removeRow(prefix []byte, fits func(k, v []byte) bool) (undo func() error, err error) {
	var key, value []byte
	err = w.inStore(func(s *kv.Store) error {
		if err := s.Scan(prefix, func(k, v []byte) (bool, error) {
			if fits(k, v) {
				key, value = bytes.Clone(k), bytes.Clone(v)
			}
			return key == nil, nil
		}); err != nil {
			return err
		}
		if key == nil {
			return errors.New("no row fits")
		}
		b := s.NewBatch()
		b.Delete(key)
		return s.Apply(b)
	})
	return func() error {
		return w.inStore(func(s *kv.Store) error {
			b := s.NewBatch()
			b.Set(key, value)
			return s.Apply(b)
		})
	}, err
}

func (w *world) inStore(fn func(*kv.Store) error) error {
	s, err := kv.Open(filepath.Join(w.srv.Dir, "store"), kv.Options{Merger: pebble.Merger(), Logger: slog.New(slog.DiscardHandler),
		Fatal: func(msg string) { panic(msg) }})
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.Close())
}
