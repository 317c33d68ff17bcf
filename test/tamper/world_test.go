// Package tamper changes the delivered files of a trail in every way that its
// author could think of and expects each change to be found: by the library
// behind `spoor verify`, and, for the table in docs/SECURITY.md, by AWS's own
// `aws cloudtrail validate-logs`.
package tamper

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/digest"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
	"spoor/internal/verify"
	"spoor/test/harness"
)

const (
	account = "123456789012"
	home    = "us-east-1"
	abroad  = "eu-west-1"
	bucket  = "tamper-trail"
	name    = "audit"
	other   = "other" // a second trail of the home region, into the same bucket
	hours   = 6
	stopped = 3 // logging stops at the end of this hour and starts again in the next
	perHour = 3 // log files in an hour
)

var (
	trailARN = trail.ARN(account, home, name)
	otherARN = trail.ARN(account, home, other)
	quiet    = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// object is an object as the bucket keeps it.
type object struct {
	body []byte
	meta map[string]string
}

// files is a bucket's content. Bodies are not changed in place.
type files map[string]object

func (f files) clone() files {
	out := make(files, len(f))
	for k, o := range f {
		out[k] = object{o.body, maps.Clone(o.meta)}
	}
	return out
}

// List implements verify.Source.
func (f files) List(_ context.Context, _, prefix string, fn func(string) error) error {
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if strings.HasPrefix(k, prefix) {
			if err := fn(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// Get implements verify.Source.
func (f files) Get(_ context.Context, _, key string) (io.ReadCloser, map[string]string, error) {
	o, ok := f[key]
	if !ok {
		return nil, nil, verify.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(o.body)), maps.Clone(o.meta), nil
}

// memory is the bucket that is delivered to.
type memory struct {
	mu    sync.Mutex
	files files
}

func (m *memory) Put(_ context.Context, _, key string, body []byte, o trail.PutOptions) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[key] = object{bytes.Clone(body), maps.Clone(o.Metadata)}
	return nil
}

func (m *memory) Policy(context.Context, string) (document, owner string, err error) {
	return harness.TrailPolicy(bucket, account), account, nil
}

func (m *memory) count(part string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for k := range m.files {
		if strings.Contains(k, part) {
			n++
		}
	}
	return n
}

// clock is what delivery takes for the time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// spy keeps the private keys that pass through a Sealer: an attacker who has
// them is one of the cases.
type spy struct {
	trail.Sealer
	mu   sync.Mutex
	keys []*rsa.PrivateKey
	seed []byte // of the key that signs checkpoints
}

func (s *spy) Put(b *kv.Batch, key, plain []byte) {
	if len(plain) == ed25519.SeedSize {
		s.mu.Lock()
		s.seed = bytes.Clone(plain)
		s.mu.Unlock()
	}
	if k, err := x509.ParsePKCS1PrivateKey(plain); err == nil {
		s.mu.Lock()
		s.keys = append(s.keys, k)
		s.mu.Unlock()
	}
	s.Sealer.Put(b, key, plain)
}

type allowAll struct{}

func (allowAll) Authorize(context.Context, *call.Call, []call.Permission) error { return nil }

// step is a call that runs fn in its transaction.
type step struct {
	name, source string
	fn           func(c *call.Call) error
}

func (s *step) Permissions(_ *call.Call, dst []call.Permission) ([]call.Permission, error) {
	return dst, nil
}
func (s *step) Handle(_ context.Context, c *call.Call) error {
	if s.fn == nil {
		return nil
	}
	return s.fn(c)
}
func (s *step) Events() int                  { return 1 }
func (s *step) Category(int) record.Category { return record.Management }
func (s *step) External() bool               { return false }
func (s *step) Describe(_ *call.Call, _ int, _ error, r *record.Record) {
	r.EventSource, r.EventName, r.ReadOnly = s.source, s.name, s.fn == nil
}

// world is a bucket with what two trails delivered, and what the server knows
// of the first.
type world struct {
	files   files
	cfg     verify.Config       // with the server's state as the anchor, without a source
	digests map[string][]string // keys of the trail by region, oldest first
	logs    map[string][]string // likewise; those of the other trail are not in it
	foreign []string            // the other trail's log files
	pending map[string]string   // each region's log file that waits for its digest
	keys    map[string]*rsa.PrivateKey
	notes   ed25519.PrivateKey // signs checkpoints
}

// rig delivers.
type rig struct {
	t     testing.TB
	clock *clock
	mem   *memory
	jr    *journal.Journal
	m     *trail.Manager
	path  *call.Path
	ids   int
}

// deliver makes a world on a store: hours of two regions, ended by a file in
// each that waits for its digest.
func deliver(t testing.TB, store *kv.Store, sealer trail.Sealer, start time.Time) *world {
	t.Helper()
	r := &rig{t: t, clock: &clock{now: start}, mem: &memory{files: files{}}}
	keys := &spy{Sealer: sealer}
	var err error
	if r.jr, err = journal.Open(store, quiet); err != nil {
		t.Fatal(err)
	}
	r.m, err = trail.Open(trail.Config{Store: store, Journal: r.jr, Bucket: r.mem, Sealer: keys, Log: quiet, Now: r.clock.Now,
		DeliveryInterval: 15 * time.Second, DigestInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r.path = &call.Path{Auth: allowAll{}, Selector: r.m, Journal: r.jr, Store: store, Now: r.clock.Now, Log: quiet}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.m.Run(ctx) }()
	r.hours()
	cancel()
	if err := errors.Join(<-ended, r.jr.Close()); err != nil {
		t.Fatal(err)
	}
	w := &world{files: r.mem.files, digests: map[string][]string{}, logs: map[string][]string{}, pending: map[string]string{}, keys: map[string]*rsa.PrivateKey{}}
	var found []verify.Finding
	if w.cfg, found, err = verify.FromStore(store, trailARN); err != nil || len(found) > 0 {
		t.Fatalf("%+v %v", found, err)
	}
	for _, k := range keys.keys {
		w.keys[digest.Fingerprint(digest.EncodePublicKey(&k.PublicKey))] = k
	}
	w.notes = ed25519.NewKeyFromSeed(keys.seed)
	w.sort()
	return w
}

func (r *rig) hours() {
	r.put("CreateTrail", name, func(s *trail.State) { s.Settings.MultiRegion = true })
	r.put("CreateTrail", other, func(*trail.State) {})
	r.put("StartLogging", name, logging(true))
	r.put("StartLogging", other, logging(true))
	digests := 0
	for h := range hours {
		for range perHour {
			r.file(4)
			r.clock.advance(10 * time.Minute)
		}
		digests += 3
		r.until(40*time.Minute, "/CloudTrail-Digest/", digests)
		if h == stopped {
			r.put("StopLogging", name, logging(false))
			digests += 2
			r.until(0, "/CloudTrail-Digest/", digests)
			r.event(account, home)
			r.event(account, abroad)
			r.put("StartLogging", name, logging(true))
		}
	}
	r.file(3)
}

// file has one log file delivered in each region and for the other trail.
func (r *rig) file(records int) {
	before := r.mem.count("/CloudTrail/")
	for range records {
		r.event(account, home)
		r.event(account, abroad)
	}
	r.until(15*time.Second, "/CloudTrail/", before+3)
}

// until lets the time pass until so many objects are there.
func (r *rig) until(d time.Duration, part string, objects int) {
	r.t.Helper()
	r.clock.advance(d)
	for end := time.Now().Add(time.Minute); r.mem.count(part) < objects; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%d objects of %s, want %d", r.mem.count(part), part, objects)
		}
		r.clock.advance(time.Second)
		r.event("999999999999", home) // wakes delivery, and is nothing to it
	}
}

func logging(on bool) func(*trail.State) { return func(s *trail.State) { s.Settings.Logging = on } }

func (r *rig) put(op, name string, change func(*trail.State)) {
	r.do(account, home, &step{name: op, source: "cloudtrail.amazonaws.com", fn: func(c *call.Call) error {
		r.m.Lock(c)
		s := trail.State{Account: account, HomeRegion: home, Name: name, Settings: trail.Settings{Bucket: bucket, GlobalEvents: true, Validation: true}}
		if old := r.m.Trail(s.ARN()); old != nil {
			s = *old
		}
		change(&s)
		return r.m.Put(c, &s)
	}})
}

func (r *rig) event(account, region string) {
	r.do(account, region, &step{name: "ListWorkGroups", source: "athena.amazonaws.com"})
}

func (r *rig) do(account, region string, s *step) {
	r.t.Helper()
	r.ids++
	id := fmt.Sprintf("%08x-0000-4000-8000-000000000000", r.ids)
	c := &call.Call{RequestID: id, EventID: id, Region: region, AccountID: account, Start: r.clock.Now(),
		Caller: &aws.Caller{Type: aws.Root, AccountID: account, PrincipalID: account, ARN: "arn:aws:iam::" + account + ":root"}}
	if err := r.path.Run(r.t.Context(), c, s); err != nil {
		r.t.Fatal(err)
	}
}

// sort finds out which file is which.
func (w *world) sort() {
	for _, key := range slices.Sorted(maps.Keys(w.files)) {
		p := strings.Split(key, "/")
		region := p[3]
		switch o := w.files[key]; {
		case p[2] == "CloudTrail-Digest" && strings.Contains(key, "_"+name+"_"):
			w.digests[region] = append(w.digests[region], key)
		case p[2] == "CloudTrail" && o.meta[digest.MetaTrail] == otherARN:
			w.foreign = append(w.foreign, key)
		}
	}
	for region, keys := range w.digests {
		for _, key := range keys {
			for _, f := range w.files.digest(key).LogFiles {
				w.logs[region] = append(w.logs[region], f.Object)
			}
		}
	}
	for key, o := range w.files {
		region := strings.Split(key, "/")[3]
		if o.meta[digest.MetaTrail] == trailARN && !slices.Contains(w.logs[region], key) {
			w.pending[region] = key
		}
	}
}

func unzip(body []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		panic(err)
	}
	return out
}

func zip(plain []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(plain); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (f files) digest(key string) *digest.Digest {
	d, err := digest.Parse(unzip(f[key].body))
	if err != nil {
		panic(err)
	}
	return d
}

// body replaces an object's bytes and keeps its metadata.
func (f files) body(key string, change func(b []byte) []byte) {
	o := f[key]
	o.body = change(bytes.Clone(o.body))
	f[key] = o
}

// plain replaces an object's uncompressed bytes.
func (f files) plain(key string, change func(b []byte) []byte) {
	f.body(key, func(b []byte) []byte { return zip(change(unzip(b))) })
}

// records replaces a log file's records.
func (f files) records(key string, change func(r []json.RawMessage) []json.RawMessage) {
	f.plain(key, func(b []byte) []byte {
		var log struct{ Records []json.RawMessage }
		if err := json.Unmarshal(b, &log); err != nil {
			panic(err)
		}
		var out bytes.Buffer
		out.WriteString(`{"Records":[`)
		for i, r := range change(log.Records) {
			if i > 0 {
				out.WriteByte(',')
			}
			out.Write(r)
		}
		out.WriteString(`]}`)
		return out.Bytes()
	})
}

// sign stores a digest under a name, signed.
func (f files) sign(key string, d *digest.Digest, private *rsa.PrivateKey) {
	plain, err := d.Encode()
	if err != nil {
		panic(err)
	}
	sig, err := d.Sign(private, plain)
	if err != nil {
		panic(err)
	}
	f[key] = object{zip(plain), map[string]string{digest.MetaSignature: sig, digest.MetaAlgorithm: digest.SignatureAlgorithm}}
}

func (f files) swap(a, b string) { f[a], f[b] = f[b], f[a] }

func (f files) remove(keys ...string) {
	for _, k := range keys {
		delete(f, k)
	}
}

// listed are the log files of a digest.
func (f files) listed(key string) []string {
	var out []string
	for _, l := range f.digest(key).LogFiles {
		out = append(out, l.Object)
	}
	return out
}
