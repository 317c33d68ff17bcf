package trail

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// gated is a bucket whose every Put waits until the test says how it ends.
type gated struct {
	*memory
	arrivals chan arrival
}

type arrival struct {
	key string
	end chan<- fault
}

func (g gated) Put(ctx context.Context, b, key string, body []byte, o PutOptions) error {
	end := make(chan fault)
	g.arrivals <- arrival{key, end}
	what := <-end
	if what == notApplied {
		return errInjected
	}
	if err := g.memory.Put(ctx, b, key, body, o); err != nil {
		return err
	}
	if what == applied {
		return errInjected
	}
	return nil
}

// held is a follower whose uploads wait, by their keys.
type held struct {
	*rig
	gate gated
	held map[string]chan<- fault
}

func (h *held) step(d time.Duration) {
	h.t.Helper()
	h.now = h.now.Add(d)
	if _, _, err := h.f.step(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	for len(h.held) < h.f.flying {
		a := <-h.gate.arrivals
		h.held[a.key] = a.end
	}
}

// end ends a file's upload and lets the follower look at it.
func (h *held) end(key string, what fault) {
	h.t.Helper()
	end := h.held[key]
	if end == nil {
		h.t.Fatalf("%s is not under way", key)
	}
	delete(h.held, key)
	end <- what
	h.f.await()
	h.step(0)
}

// listed are the files that the next digest will list, in its order.
func (h *held) listed() []string {
	h.t.Helper()
	d, err := ReadDelivered(h.store, arn)
	if err != nil || len(d) != 1 {
		h.t.Fatal(d, err)
	}
	var out []string
	for _, f := range d[0].Files {
		out = append(out, f.Key)
	}
	return out
}

// TestUploads: several files are under way at a time, end in any order and are
// noted in theirs; one that fails holds up no reading and keeps those behind it
// out of the digest, which closes without all of them.
func TestUploads(t *testing.T) {
	t.Parallel()
	h := &held{newRig(t, vfs.NewMem(), newMemory()), gated{arrivals: make(chan arrival)}, map[string]chan<- fault{}}
	defer h.close()
	h.gate.memory = h.bucket
	h.m.cfg.Bucket = h.gate
	h.f.maxBytes = 1
	want := []string{h.start()}
	for range 5 {
		want = append(want, h.event(home))
	}
	h.step(0)
	s := h.f.streams[home]
	if s.NextFile != 6 || len(h.held) != maxUploads {
		t.Fatalf("%d files planned, %d under way", s.NextFile, len(h.held))
	}
	var keys []string
	for _, x := range s.window {
		keys = append(keys, x.Key)
	}
	for _, k := range []string{keys[3], keys[1], keys[2]} {
		h.end(k, works)
		h.now = h.now.Add(time.Second)
	}
	if n := len(h.listed()); n != 0 || s.head != 0 || len(h.held) != 1 || !h.f.statuses.get(home).LatestDelivery.IsZero() {
		t.Fatalf("with the first on its way: %d noted, %d under way, status %+v", n, len(h.held), h.f.statuses.get(home))
	}
	want = append(want, h.event(home)) // read all the same
	h.step(0)
	h.end(keys[0], applied)
	if st := h.f.statuses.get(home); s.NextFile != 7 || st.Error != "ServiceUnavailable" || !st.LatestAttempt.Equal(h.now) || len(h.held) != 0 {
		t.Errorf("after the first failed: %d files planned, status %+v, %d under way", s.NextFile, st, len(h.held))
	}
	h.step(2 * time.Second) // only the one that failed is tried again
	if _, ok := h.held[keys[0]]; !ok || len(h.held) != 1 {
		t.Fatalf("under way is %v", h.held)
	}
	h.step(time.Hour) // the digest waits for what is under way
	if s.Chain.Number != 0 || !h.f.nextDeadline().After(h.now) {
		t.Errorf("digest %d is made, or the follower does not rest: %v", s.Chain.Number, h.f.nextDeadline())
	}
	h.end(keys[0], notApplied) // and for no longer
	if s.Chain.Number != 1 || len(h.listed()) != 0 || s.Chain.First != 1 {
		t.Errorf("digest %d lists %q and covers up to %d", s.Chain.Number, h.listed(), s.Chain.First)
	}
	h.step(maxBackoff)
	h.end(keys[0], works)
	got := h.listed()
	if len(got) != maxUploads {
		t.Fatalf("noted are %q", got)
	}
	for i, k := range keys {
		if got[i] != k {
			t.Errorf("file %d of the list is %q, want %q", i, got[i], k)
		}
	}
	if st := h.f.statuses.get(home); st.Error != "" || !st.LatestDelivery.Equal(h.now) || !st.LatestAttempt.Equal(h.now) {
		t.Errorf("status %+v", st)
	}
	// The rest, and the digest only when the log files before it are through.
	for h.f.flying > 0 {
		for k := range h.held {
			h.end(k, works)
			break
		}
	}
	h.m.cfg.Bucket = h.bucket
	h.rig.step(time.Hour)
	h.stop()
	h.rig.step(time.Minute)
	d := h.delivered()
	for _, id := range want {
		if d.ids[id] != 1 {
			t.Errorf("record %s is there %d times", id, d.ids[id])
		}
	}
	if n := h.checkChain(home); n != len(d.files) || len(d.digests) < 3 || len(h.bucket.clashes) > 0 {
		t.Errorf("%d files listed, %d delivered, digests %q, clashes %q", n, len(d.files), d.digests, h.bucket.clashes)
	}
}

// TestUploadsLost: files that landed behind one that did not are uploaded again
// after a crash, with the same bytes, and listed once.
func TestUploadsLost(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	h := &held{newRig(t, fs, newMemory()), gated{arrivals: make(chan arrival)}, map[string]chan<- fault{}}
	h.gate.memory = h.bucket
	h.m.cfg.Bucket = h.gate
	h.f.maxBytes = 1
	want := []string{h.start()}
	for range 3 {
		want = append(want, h.event(home))
	}
	h.step(0)
	s := h.f.streams[home]
	for _, x := range s.window[1:] {
		h.end(x.Key, works)
	}
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	h.end(s.window[0].Key, applied)
	now := h.now
	h.close()
	h.fs = clone
	h.open()
	defer h.close()
	h.now = now
	h.rig.step(0)
	d := h.delivered()
	for _, id := range want {
		if d.ids[id] != 1 {
			t.Errorf("record %s is there %d times", id, d.ids[id])
		}
	}
	if len(d.files) != len(want) || len(h.listed()) != len(want) || len(h.bucket.clashes) > 0 || h.bucket.puts != 2*len(want) {
		t.Errorf("%d files, %d listed, %d uploads, clashes %q", len(d.files), len(h.listed()), h.bucket.puts, h.bucket.clashes)
	}
	h.stop()
	h.rig.step(time.Hour)
	if n := h.checkChain(home); n != len(h.delivered().files) {
		t.Errorf("%d files listed, %d delivered", n, len(h.delivered().files))
	}
}
