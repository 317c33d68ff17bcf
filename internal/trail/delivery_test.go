package trail

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/digest"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/tree"
)

// delivered is the content of a bucket, read as a consumer reads it.
type delivered struct {
	files   map[string][]string // log file → event ids
	ids     map[string]int      // event id → how often
	digests []string            // keys in order
}

func (r *rig) delivered() delivered {
	r.t.Helper()
	r.bucket.mu.Lock()
	defer r.bucket.mu.Unlock()
	d := delivered{files: map[string][]string{}, ids: map[string]int{}}
	for key, o := range r.bucket.objects {
		if o.opts.ACL != bucketACL || o.opts.ContentType != "application/json" || o.opts.ContentEncoding != "gzip" {
			r.t.Errorf("%s has headers %+v", key, o.opts)
		}
		if strings.Contains(key, "/CloudTrail-Digest/") {
			d.digests = append(d.digests, key)
			continue
		}
		var f struct{ Records []struct{ EventID string } }
		if err := json.Unmarshal(gunzip(r.t, o.body), &f); err != nil {
			r.t.Fatalf("%s: %v", key, err)
		}
		for _, x := range f.Records {
			d.files[key] = append(d.files[key], x.EventID)
			d.ids[x.EventID]++
		}
	}
	sort.Strings(d.digests)
	return d
}

// checkChain verifies every digest of a region from the newest back, as the
// oracle of the tests here: signatures, links, numbers, coverage, hashes. It
// returns how many log files are listed.
func (r *rig) checkChain(region string) int {
	r.t.Helper()
	keys, err := publicKeys(r.store, region)
	if err != nil {
		r.t.Fatal(err)
	}
	byPrint := map[string]PublicKey{}
	for _, k := range keys {
		byPrint[k.Fingerprint] = k
	}
	var prev *digest.Digest
	var prevLink *digest.Link
	listed := map[string]bool{}
	var grown tree.Frontier
	for _, key := range r.delivered().digests {
		if !strings.Contains(key, "_CloudTrail-Digest_"+region+"_") {
			continue
		}
		o := r.bucket.objects[key]
		plain := gunzip(r.t, o.body)
		d, err := digest.Parse(plain)
		if err != nil {
			r.t.Fatalf("%s: %v", key, err)
		}
		pub, err := digest.ParsePublicKey(byPrint[d.PublicKeyFingerprint].Value)
		if err != nil {
			r.t.Fatalf("%s: %v", key, err)
		}
		sig := o.opts.Metadata[digest.MetaSignature]
		if err := d.Verify(pub, digest.Hash(plain), sig); err != nil {
			r.t.Errorf("%s: %v", key, err)
		}
		x := d.Extension
		if prev == nil {
			if x.Number != 1 || x.First != 1 {
				r.t.Errorf("%s is the first and has number %d, coverage from %d", key, x.Number, x.First)
			}
		} else {
			link := d.Previous()
			if link == nil {
				link = x.Prior
			}
			if link == nil || *link != *prevLink {
				r.t.Errorf("%s is linked to %v, want %v", key, link, prevLink)
			}
			if x.Number != prev.Extension.Number+1 || x.First != prev.Extension.Last+1 {
				r.t.Errorf("%s: number %d from %d, before it %d to %d", key, x.Number, x.First, prev.Extension.Number, prev.Extension.Last)
			}
			if prev.Extension.Final != (d.Previous() == nil) {
				r.t.Errorf("%s: starting %v after final %v", key, d.Previous() == nil, prev.Extension.Final)
			}
		}
		grown = r.checkTree(region, d, grown)
		at := x.First
		for _, f := range d.LogFiles {
			if f.Records.Begin() != at {
				r.t.Errorf("%s: %s begins at %d, want %d", key, f.Object, f.Records.Begin(), at)
			}
			at = f.Records.Last + 1
			if got := digest.Hash(gunzip(r.t, r.bucket.objects[f.Object].body)); got != f.Hash {
				r.t.Errorf("%s: hash of %s", key, f.Object)
			}
			if listed[f.Object] {
				r.t.Errorf("%s is in two digests", f.Object)
			}
			listed[f.Object] = true
		}
		if at != x.Last+1 {
			r.t.Errorf("%s covers to %d, its files to %d", key, x.Last, at-1)
		}
		prev, prevLink = d, &digest.Link{Bucket: bucket, Object: key, Hash: digest.Hash(plain), Signature: sig}
	}
	return len(listed)
}

// checkTree computes the Merkle tree from the log files themselves, leaf by
// leaf, and holds the digest's part of it and its checkpoint against that.
func (r *rig) checkTree(region string, d *digest.Digest, at tree.Frontier) tree.Frontier {
	r.t.Helper()
	x := d.Extension.Tree
	if !x.Before.Equal(&at) {
		r.t.Errorf("%s: the tree before it has %d leaves, want %d", d.Object, x.Before.Size, at.Size)
	}
	for _, f := range d.LogFiles {
		var log struct{ Records []json.RawMessage }
		if err := json.Unmarshal(gunzip(r.t, r.bucket.objects[f.Object].body), &log); err != nil {
			r.t.Fatal(err)
		}
		var leaves []tree.Hash
		for _, rec := range log.Records {
			leaves = append(leaves, tree.LeafHash(rec))
		}
		if l := f.Records.Tree; l.First != at.Size || l.Before != nil || !slices.Equal(l.Sums, tree.Sums(at.Size, leaves)) {
			r.t.Errorf("%s: the part of the tree from %d on is not that of its records", f.Object, l.First)
		}
		for _, h := range leaves {
			if err := at.Append(0, h); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	key, err := tree.ParseVerifierKey(x.Key)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := tree.OpenCheckpoint(x.Checkpoint, []ed25519.PublicKey{key})
	if want := (tree.Checkpoint{Origin: tree.Origin(account, home, "audit", region), Size: at.Size, Root: at.Root()}); err != nil || c != want {
		r.t.Errorf("%s: checkpoint %+v, want %+v (%v)", d.Object, c, want, err)
	}
	return at
}

// TestDelivery: what is made while logging is delivered once, with the records
// that start and stop it; digests come on time and a final one at the end.
func TestDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.put("CreateTrail", func(*State) {})
	r.event(home)
	want := []string{r.start()}
	for range 5 {
		want = append(want, r.event(home))
	}
	r.event("eu-west-1") // not this trail's
	r.step(0)
	r.step(14 * time.Second)
	if n := len(r.delivered().files); n != 0 {
		t.Fatalf("%d files before the interval", n)
	}
	r.step(time.Second)
	if n := len(r.delivered().files); n != 1 {
		t.Fatalf("%d files after the interval", n)
	}
	want = append(want, r.event(home))
	r.step(0)
	r.step(time.Hour)
	if n := len(r.delivered().digests); n != 1 {
		t.Fatalf("%d digests after an hour", n)
	}
	r.step(time.Hour)
	if n := len(r.delivered().digests); n != 2 {
		t.Fatalf("%d digests after two hours, the second without files", n)
	}
	want = append(want, r.event(home), r.stop())
	r.event(home)
	if !r.step(time.Second) {
		t.Error("the follower goes on after everything is delivered")
	}
	d := r.delivered()
	if len(d.digests) != 3 {
		t.Errorf("digests %q, want the final one too", d.digests)
	}
	if len(d.ids) != len(want) {
		t.Errorf("%d records, want %d", len(d.ids), len(want))
	}
	for _, id := range want {
		if d.ids[id] != 1 {
			t.Errorf("record %s is there %d times", id, d.ids[id])
		}
	}
	if n := r.checkChain(home); n != len(d.files) {
		t.Errorf("%d files listed, %d delivered", n, len(d.files))
	}
	// Logging again makes a chain of its own, tied to the one before.
	r.newFollower()
	again := r.start()
	r.step(0)
	r.step(time.Hour)
	r.stop()
	r.step(time.Second)
	d = r.delivered()
	if d.ids[again] != 1 || len(d.digests) != 5 {
		t.Errorf("after a restart: record %d times, digests %q", d.ids[again], d.digests)
	}
	if n := r.checkChain(home); n != len(d.files) {
		t.Errorf("%d files listed, %d delivered", n, len(d.files))
	}
}

// TestFileSize: a file closes when it is large enough.
func TestFileSize(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.f.maxBytes = 4000
	r.start()
	for range 40 {
		r.event(home)
	}
	r.step(0)
	d := r.delivered()
	if len(d.files) < 4 {
		t.Fatalf("%d files", len(d.files))
	}
	for key, ids := range d.files {
		if n := len(gunzip(t, r.bucket.objects[key].body)); n > 4000+1000 || len(ids) < 2 {
			t.Errorf("%s has %d bytes and %d records", key, n, len(ids))
		}
	}
}

// TestChanges: selectors, bucket prefix and multi-region hold from the record
// of their change on, however late the follower reads it.
func TestChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.bucket.policy = strings.Replace(goodPolicy, "/AWSLogs/", "/*AWSLogs/", 1)
	in, out := []string{r.start(), r.event(home)}, []string{r.event("eu-west-1")}
	in = append(in, r.put("PutEventSelectors", func(s *State) {
		s.Settings.Selectors = Selectors{Basic: []BasicSelector{{ReadWrite: WriteOnly, IncludeManagement: true}}}
	}))
	out = append(out, r.do(home, &testStep{name: "Get", readOnly: true}))
	in = append(in, r.event(home), r.put("UpdateTrail", func(s *State) { s.Settings.MultiRegion, s.Settings.Prefix = true, "p" }))
	moved := []string{r.event("eu-west-1"), r.event(home), r.event("ap-south-1")}
	in = append(in, moved...)
	// Home alone again, and everywhere again: what was passed over is said.
	in = append(in, r.put("UpdateTrail", func(s *State) { s.Settings.MultiRegion = false }))
	out = append(out, r.event("eu-west-1"), r.event("eu-west-1"))
	in = append(in, r.put("UpdateTrail", func(s *State) { s.Settings.MultiRegion = true }), r.event("eu-west-1"))
	in = append(in, r.stop())
	out = append(out, r.event(home))
	if !r.step(0) {
		t.Error("not done")
	}
	d := r.delivered()
	for _, id := range in {
		if d.ids[id] != 1 {
			t.Errorf("record %s is there %d times, want once", id, d.ids[id])
		}
	}
	for _, id := range out {
		if d.ids[id] != 0 {
			t.Errorf("record %s is there and was not selected", id)
		}
	}
	for key, ids := range d.files {
		for _, id := range ids {
			for _, m := range moved {
				if id == m && !strings.HasPrefix(key, "p/AWSLogs/") {
					t.Errorf("record %s lies in %s", id, key)
				}
			}
		}
	}
	n := 0
	for _, region := range []string{home, "eu-west-1", "ap-south-1"} {
		n += r.checkChain(region)
	}
	if n != len(d.files) {
		t.Errorf("%d files listed, %d delivered", n, len(d.files))
	}
}

// TestCrash runs a fixed life of a trail, loses power after every single
// durable step in turn, with the bucket failing in both ways in between, and
// expects on the restarted server: every record once, the chain whole.
func TestCrash(t *testing.T) {
	t.Parallel()
	faults := map[string]func(n int) fault{
		"works":       nil,
		"not applied": func(n int) fault { return fault(n%2) * notApplied },
		"applied":     func(n int) fault { return fault(n%2) * applied },
		"mixed":       func(n int) fault { return fault(n % 3) },
		// A file for each record, so that several of a stream are under way at a
		// time, and two attempts in a row that fail, one of either kind.
		"small files": func(n int) fault {
			return [...]fault{notApplied, applied, works, works, applied, notApplied, works}[n%7]
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			maxBytes := maxFileBytes
			if name == "small files" {
				maxBytes = 1
			}
			for at := 1; ; at++ {
				if !crashRun(t, at, maxBytes, fault) {
					if at < 5 {
						t.Fatalf("only %d durable steps", at)
					}
					return
				}
			}
		})
	}
}

// crashRun crashes at the at-th durable step of the follower; false when there
// are fewer.
func crashRun(t *testing.T, at, maxBytes int, faults func(int) fault) bool {
	t.Helper()
	fs := vfs.NewCrashableMem()
	b := newMemory()
	b.fault = faults
	r := newRig(t, fs, b)
	r.f.maxBytes = maxBytes
	crashed := false
	var clone *vfs.MemFS
	arm := func() {
		n := 0
		commit := r.f.committed
		r.f.committed = func(batch *kv.Batch) error {
			if n++; n != at {
				return commit(batch)
			}
			// Even runs lose power just before the commit, odd ones just after.
			crashed = true
			if at%2 == 1 {
				if err := commit(batch); err != nil {
					return err
				}
			} else if err := batch.Close(); err != nil {
				return err
			}
			clone = fs.CrashClone(vfs.CrashCloneCfg{})
			return errInjected
		}
	}
	arm()
	want := []string{r.start()}
	var steps []func()
	for i := range 6 {
		steps = append(steps, func() {
			want = append(want, r.event(home))
			for range 3 * (i % 2) {
				want = append(want, r.event(home))
			}
			if i%2 == 0 {
				r.put("UpdateTrail", func(s *State) { s.Settings.MultiRegion = i%4 == 0 })
			}
		}, func() { r.now = r.now.Add(20 * time.Second) }, func() { r.now = r.now.Add(time.Duration(i%2) * time.Hour) })
	}
	steps = append(steps, func() { want = append(want, r.stop()) })
	for range 120 { // time for the retries
		steps = append(steps, func() { r.now = r.now.Add(10 * time.Minute) })
	}
	for _, s := range steps {
		s()
		done, err := r.settle()
		if err != nil {
			if !crashed {
				t.Fatal(err)
			}
			now := r.now
			r.close()
			r.fs = clone
			r.open()
			r.f.maxBytes = maxBytes
			r.now, at = now, -1
			if done, err = r.settle(); err != nil {
				t.Fatal(err)
			}
		}
		if done {
			break
		}
	}
	defer r.close()
	d := r.delivered()
	for _, id := range want {
		if d.ids[id] != 1 {
			t.Errorf("crash at step %d: record %s is there %d times", at, id, d.ids[id])
		}
	}
	for id, n := range d.ids {
		if n != 1 {
			t.Errorf("record %s is there %d times", id, n)
		}
	}
	if n := r.checkChain(home); n != filesOf(d, home) {
		t.Errorf("%d files listed, %d delivered", n, filesOf(d, home))
	}
	if len(b.clashes) > 0 {
		t.Errorf("written again with other bytes: %q", b.clashes)
	}
	return crashed
}

func filesOf(d delivered, region string) int {
	n := 0
	for k := range d.files {
		if strings.Contains(k, "/CloudTrail/"+region+"/") {
			n++
		}
	}
	return n
}

// TestOutage: while the bucket is away files queue; afterwards all arrive in
// order, and the status says what happened.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(m *memory, out bool){
		"NoSuchBucket":       func(m *memory, out bool) { m.missing = out },
		"AccessDenied":       func(m *memory, out bool) { m.policy = map[bool]string{true: "", false: goodPolicy}[out] },
		"ServiceUnavailable": func(m *memory, out bool) { m.fault = func(int) fault { return map[bool]fault{true: notApplied}[out] } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vfs.NewMem(), newMemory())
			defer r.close()
			want := []string{r.start()}
			set(r.bucket, true)
			for range 200 {
				want = append(want, r.event(home))
				r.step(time.Minute)
			}
			if st := r.f.statuses.get(home); st.Error != name || !st.LatestDelivery.IsZero() {
				t.Errorf("status %+v", st)
			}
			set(r.bucket, false)
			r.step(maxBackoff * 2)
			d := r.delivered()
			for _, id := range want {
				if d.ids[id] != 1 {
					t.Errorf("record %s is there %d times", id, d.ids[id])
				}
			}
			if st := r.f.statuses.get(home); st.Error != "" || st.LatestDelivery.IsZero() {
				t.Errorf("status %+v", st)
			}
			r.stop()
			r.step(time.Hour)
			r.checkChain(home)
		})
	}
}

// TestSlow: a bucket that takes an object and does not answer is asked again,
// over a restart, with the same object; what it has is there once and in one
// digest, and the waits between attempts grow to their bound and no further.
func TestSlow(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.f.patience = time.Millisecond
	r.bucket.fault = func(int) fault { return hangs }
	want := []string{r.start(), r.event(home)}
	r.step(0)
	r.step(time.Minute)
	if st := r.f.statuses.get(home); st.Error != "RequestTimeout" || !st.LatestDelivery.IsZero() || !st.LatestAttempt.Equal(r.now) || !st.LatestAttemptOK.IsZero() {
		t.Errorf("status %+v", st)
	}
	retryAt := func() time.Time { return r.f.streams[home].failing().retryAt }
	for i := range 20 {
		last := r.now
		r.step(retryAt().Sub(r.now))
		if wait := retryAt().Sub(r.now); wait > maxBackoff*12/10 || wait < minBackoff*8/10 || i > 12 && wait < maxBackoff*8/10 || !r.now.After(last) {
			t.Errorf("attempt %d: the next one is after %v", i, wait)
		}
	}
	// The same after a restart, which tries at once.
	r.close()
	r.open()
	r.f.patience = time.Millisecond
	puts := r.bucket.puts
	r.step(0)
	if st := r.f.statuses.get(home); st.Error != "RequestTimeout" || r.bucket.puts != puts+1 {
		t.Errorf("after a restart: status %+v, %d attempts", st, r.bucket.puts-puts)
	}
	r.bucket.fault = nil
	r.step(maxBackoff * 2)
	st := r.f.statuses.get(home)
	if st.Error != "" || !st.LatestDelivery.Equal(r.now) || !st.LatestAttemptOK.Equal(r.now) {
		t.Errorf("status %+v", st)
	}
	r.step(time.Hour)
	if st := r.f.statuses.get(home); st.LatestDigestDelivery.IsZero() || st.DigestError != "" {
		t.Errorf("status %+v", st)
	}
	d := r.delivered()
	for _, id := range want {
		if d.ids[id] != 1 {
			t.Errorf("record %s is there %d times", id, d.ids[id])
		}
	}
	if n := r.checkChain(home); n != len(d.files) || len(r.bucket.clashes) > 0 {
		t.Errorf("%d files listed, %d delivered, clashes %q", n, len(d.files), r.bucket.clashes)
	}
}

// TestGiveUp: after 30 days a file is dropped, said aloud in the log, and the
// digests show the hole.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.start()
	r.step(0)
	r.bucket.missing = true
	r.step(time.Minute)
	// How long a file waits is durable: a restart does not begin the 30 days anew.
	r.step(retryFor - time.Hour)
	r.close()
	r.open()
	r.step(0)
	if !r.f.streams[home].queued() {
		t.Error("a file was given up before its time")
	}
	r.step(2 * time.Hour)
	if st := r.f.statuses.get(home); st.Error != "NoSuchBucket" || r.f.streams[home].logs != 0 {
		t.Errorf("given up: status %+v, %d files wait", st, r.f.streams[home].logs)
	}
	r.bucket.missing = false
	after := r.event(home)
	r.step(time.Hour)
	r.step(time.Hour)
	d := r.delivered()
	if len(d.ids) != 1 || d.ids[after] != 1 {
		t.Errorf("delivered %v, want only what came after", d.ids)
	}
	for _, key := range d.digests {
		x, err := digest.Parse(gunzip(t, r.bucket.objects[key].body))
		if err != nil {
			t.Fatal(err)
		}
		if len(x.LogFiles) > 0 && (x.Extension.First != 1 || x.LogFiles[0].Records.Begin() != 2) {
			t.Errorf("the digest covers from %d, its first file from %d: no hole is to be seen", x.Extension.First, x.LogFiles[0].Records.Begin())
		}
	}
}

// TestRun: the goroutines do what the steps do, start on a change and end.
func TestRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	m, err := Open(Config{Store: r.store, Journal: r.jr, Bucket: r.bucket, Sealer: plainSealer{}, Log: quiet, Now: time.Now,
		DeliveryInterval: time.Millisecond, DigestInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r.m, r.path.Selector = m, m
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() { end <- m.Run(ctx) }()
	waitFor(t, func() bool { m.run.Lock(); defer m.run.Unlock(); return m.run.ctx != nil })
	id := r.start()
	stop := r.stop()
	waitFor(t, func() bool { m.run.Lock(); defer m.run.Unlock(); return len(m.run.followers) == 0 })
	cancel()
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	d := r.delivered()
	if d.ids[id] != 1 || d.ids[stop] != 1 || len(d.digests) != 1 {
		t.Errorf("delivered %v, digests %q", d.ids, d.digests)
	}
	if st, err := m.Status(arn, home); err != nil || st.LatestDelivery.IsZero() || st.LatestDigestDelivery.IsZero() {
		t.Errorf("status %+v, %v", st, err)
	}
	if _, err := r.jr.Trim(r.jr.Head()); err != nil {
		t.Error(err)
	}
	if c, err := r.jr.Cursor(CursorName(arn)); err != nil || c != 0 {
		t.Errorf("the cursor of a trail without work is %d (%v)", c, err)
	}
}

// BenchmarkDelivery is reading, selecting, encoding and compressing, without
// the uploads.
func BenchmarkDelivery(b *testing.B) {
	r := newRig(b, vfs.NewMem(), newMemory())
	defer r.close()
	r.start()
	for range 20000 {
		r.event(home)
	}
	var size int64
	if err := r.jr.Read(0, r.jr.Head(), func(it journal.Item) (bool, error) {
		size += int64(len(it.JSON))
		return true, nil
	}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		f := newFollower(r.m, arn)
		if err := f.load(); err != nil {
			b.Fatal(err)
		}
		f.pos = 0
		f.set, f.match = Settings{Logging: true, Bucket: bucket, GlobalEvents: true}, compile(Selectors{})
		f.streams = map[string]*stream{}
		f.committed = func(x *kv.Batch) error { return x.Close() }
		if err := f.read(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(20000*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
