package verify

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"spoor/internal/digest"
)

const (
	account  = "123456789012"
	home     = "us-east-1"
	bucket   = "logs"
	trailARN = "arn:aws:cloudtrail:us-east-1:123456789012:trail/audit"
)

// object is an object of a memory bucket.
type object struct {
	plain []byte // uncompressed
	body  []byte
	meta  map[string]string
}

// memory is a bucket in memory.
type memory struct {
	objects map[string]object
	fail    error
}

func (m *memory) List(_ context.Context, _, prefix string, fn func(string) error) error {
	for _, k := range slices.Sorted(maps.Keys(m.objects)) {
		if strings.HasPrefix(k, prefix) {
			if err := fn(k); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Get(_ context.Context, _, key string) (io.ReadCloser, map[string]string, error) {
	if m.fail != nil {
		return nil, nil, m.fail
	}
	o, ok := m.objects[key]
	if !ok {
		return nil, nil, ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(o.body)), o.meta, nil
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

// testKey is one signing key for all tests: making one takes long.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, digest.KeyBits)
	if err != nil {
		panic(err)
	}
	return k
})

// world is a bucket with the files of a trail, as delivery makes them, and
// what the server knows of it.
type world struct {
	*memory
	cfg     Config
	digests map[string][]string // keys by region, oldest first
	files   map[string][]string // likewise
	chain   map[string]*chainEnd
	events  int
	start   time.Time
}

type chainEnd struct {
	link   *digest.Link
	number uint64
	last   uint64
	end    time.Time
}

func keyOf(k *rsa.PrivateKey) PublicKey {
	der := digest.EncodePublicKey(&k.PublicKey)
	return PublicKey{Fingerprint: digest.Fingerprint(der), Value: der}
}

// newWorld makes hours of digests with perHour log files each, in two regions;
// the fourth hour is empty. One more file waits for its digest.
func newWorld(hours, perHour int) *world {
	w := &world{memory: &memory{objects: map[string]object{}}, digests: map[string][]string{}, files: map[string][]string{}, chain: map[string]*chainEnd{},
		start: time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)}
	keys := []PublicKey{keyOf(testKey())}
	w.cfg = Config{Source: w, TrailARN: trailARN, Bucket: bucket, Keys: map[string][]PublicKey{home: keys, "eu-west-1": keys}, Anchors: map[string]Anchor{}}
	for _, region := range []string{home, "eu-west-1"} {
		for h := range hours {
			n := perHour
			if h == 3 {
				n = 0
			}
			w.hour(region, n, h == 1)
		}
		f := w.file(region, w.chain[region].end.Add(10*time.Minute), 3)
		w.cfg.Anchors[region] = Anchor{Digest: w.chain[region].link,
			Files: []AnchorFile{{Bucket: bucket, Key: f.Object, Hash: f.Hash, First: f.Records.First, Last: f.Records.Last}}}
	}
	return w
}

func place(region string) digest.Place { return digest.Place{Account: account, Region: region} }

func (w *world) end(region string) *chainEnd {
	if w.chain[region] == nil {
		w.chain[region] = &chainEnd{end: w.start}
	}
	return w.chain[region]
}

// file delivers a log file of n records.
func (w *world) file(region string, at time.Time, n int) digest.LogFile {
	c := w.end(region)
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		w.events++
		fmt.Fprintf(&b, `{"eventVersion":"1.11","requestParameters":{"eventID":"nested","text":"\"eventID\":\"quoted\\"},"eventID":"%08d","awsRegion":%q}`, w.events, region)
	}
	b.WriteString(`]}`)
	key := place(region).LogKey(at, fmt.Sprintf("%016d", w.events))
	stamp := at.Format(digest.TimeLayout)
	r := &digest.Range{First: c.last + 1, Last: c.last + uint64(n), Count: n}
	c.last = r.Last
	w.objects[key] = object{b.Bytes(), zip(b.Bytes()), map[string]string{digest.MetaFirstSeq: strconv.FormatUint(r.First, 10),
		digest.MetaLastSeq: strconv.FormatUint(r.Last, 10), digest.MetaTrail: trailARN}}
	w.files[region] = append(w.files[region], key)
	return digest.LogFile{Bucket: bucket, Object: key, Hash: digest.Hash(b.Bytes()), HashAlgorithm: digest.HashAlgorithm, NewestEventTime: &stamp, OldestEventTime: &stamp, Records: r}
}

// hour delivers files and their digest.
func (w *world) hour(region string, files int, final bool) {
	c := w.end(region)
	d := &digest.Digest{AccountID: account, StartTime: c.end.Format(digest.TimeLayout), Bucket: bucket, SignatureAlgorithm: digest.SignatureAlgorithm,
		PublicKeyFingerprint: w.cfg.Keys[home][0].Fingerprint,
		Extension:            &digest.Extension{Version: 1, TrailARN: trailARN, Number: c.number + 1, First: c.last + 1, Final: final, Regions: []string{"eu-west-1", home}}}
	for i := range files {
		d.LogFiles = append(d.LogFiles, w.file(region, c.end.Add(time.Duration(i+1)*10*time.Minute), 4))
	}
	d.Extension.Last = c.last
	end := c.end.Add(time.Hour)
	d.EndTime, d.Object = end.Format(digest.TimeLayout), place(region).DigestKey("audit", home, end)
	if c.number == 2 { // after the final one
		d.Extension.Prior = c.link
	} else {
		d.SetPrevious(c.link)
	}
	w.put(d, testKey())
	c.link = w.link(d.Object)
	c.number, c.end = d.Extension.Number, end
	w.digests[region] = append(w.digests[region], d.Object)
}

// put signs a digest and stores it under its name.
func (w *world) put(d *digest.Digest, key *rsa.PrivateKey) {
	plain, err := d.Encode()
	if err != nil {
		panic(err)
	}
	sig, err := d.Sign(key, plain)
	if err != nil {
		panic(err)
	}
	w.objects[d.Object] = object{plain, zip(plain), map[string]string{digest.MetaSignature: sig, digest.MetaAlgorithm: digest.SignatureAlgorithm}}
}

func (w *world) link(key string) *digest.Link {
	o := w.objects[key]
	return &digest.Link{Bucket: bucket, Object: key, Hash: digest.Hash(o.plain), Signature: o.meta[digest.MetaSignature]}
}

func (w *world) digest(key string) *digest.Digest {
	d, err := digest.Parse(w.objects[key].plain)
	if err != nil {
		panic(err)
	}
	return d
}

// set replaces an object's content and keeps its metadata.
func (w *world) set(key string, plain []byte) {
	w.objects[key] = object{plain, zip(plain), w.objects[key].meta}
}

func kinds(r *Report) []string {
	set := map[string]bool{}
	for _, f := range r.Findings {
		set[string(f.Kind)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

func TestClean(t *testing.T) {
	t.Parallel()
	w := newWorld(6, 3)
	r, err := Run(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.ExitCode() != ExitClean || !r.Clean || len(r.Regions) != 2 {
		t.Fatalf("findings %+v", r.Findings)
	}
	for _, x := range r.Regions {
		if x.Digests != 6 || x.Files != 16 || x.Records != 63 || x.FirstSeq != 1 || x.LastSeq != 60 || x.Pending != 0 {
			t.Errorf("%+v", x)
		}
	}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "Clean") {
		t.Errorf("%s %v", b.String(), err)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	// A part of the time, and no anchor.
	w.cfg.Start, w.cfg.End, w.cfg.Anchors = w.start.Add(2*time.Hour), w.start.Add(4*time.Hour), nil
	if r, err = Run(t.Context(), w.cfg); err != nil || r.ExitCode() != ExitClean || r.Regions[0].Digests != 3 {
		t.Errorf("%+v %v", r, err)
	}
	w.cfg.Start, w.cfg.End = time.Time{}, time.Time{}
	if r, err = Run(t.Context(), w.cfg); err != nil || r.ExitCode() != ExitClean || r.Regions[0].Pending != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

// TestTampering changes a trail's files in many ways; each must be found, and
// as what it is.
func TestTampering(t *testing.T) {
	t.Parallel()
	other, err := rsa.GenerateKey(rand.Reader, digest.KeyBits)
	if err != nil {
		t.Fatal(err)
	}
	last := func(list []string, n int) string { return list[len(list)-n] }
	tests := []struct {
		name string
		do   func(w *world)
		want []string
	}{
		{"a record changed", func(w *world) {
			k := w.files[home][4]
			w.set(k, bytes.Replace(w.objects[k].plain, []byte("1.11"), []byte("1.12"), 1))
		}, []string{"file-altered"}},
		{"a record removed", func(w *world) {
			k := w.files[home][4]
			p := w.objects[k].plain
			i, j := bytes.Index(p, []byte(`{"eventVersion"`)), bytes.Index(p, []byte(`},{"eventVersion"`))
			w.set(k, append(bytes.Clone(p[:i]), p[j+2:]...))
		}, []string{"file-altered"}},
		{"two records swapped", func(w *world) {
			k := w.files[home][4]
			p := string(w.objects[k].plain)
			a, b := p[strings.Index(p, `eventID":"0`):][:18], p[strings.LastIndex(p, `eventID":"0`):][:18]
			w.set(k, []byte(strings.NewReplacer(a, b, b, a).Replace(p)))
		}, []string{"file-altered"}},
		{"a log file removed", func(w *world) { delete(w.objects, w.files[home][4]) }, []string{"file-missing"}},
		{"adjacent log files removed", func(w *world) { delete(w.objects, w.files[home][4]); delete(w.objects, w.files[home][5]) }, []string{"file-missing"}},
		{"log files swapped", func(w *world) {
			a, b := w.files[home][1], w.files[home][9]
			w.objects[a], w.objects[b] = w.objects[b], w.objects[a]
		}, []string{"file-altered"}},
		{"a log file cut short", func(w *world) {
			o := w.objects[w.files[home][4]]
			o.body = o.body[:len(o.body)-9]
			w.objects[w.files[home][4]] = o
		}, []string{"file-truncated"}},
		{"a log file emptied", func(w *world) { w.objects[w.files[home][4]] = object{} }, []string{"file-truncated"}},
		{"a member appended", func(w *world) {
			o := w.objects[w.files[home][4]]
			o.body = append(bytes.Clone(o.body), zip([]byte(`{"Records":[]}`))...)
			w.objects[w.files[home][4]] = o
		}, []string{"file-truncated"}},
		{"a log file not compressed", func(w *world) {
			o := w.objects[w.files[home][4]]
			o.body = o.plain
			w.objects[w.files[home][4]] = o
		}, []string{"file-truncated"}},
		{"numbers in metadata changed", func(w *world) {
			w.objects[w.files[home][4]].meta[digest.MetaLastSeq] = "9"
		}, []string{"file-metadata"}},
		{"a log file added", func(w *world) {
			k := place(home).LogKey(w.start.Add(time.Minute), "planted000000000")
			w.objects[k] = object{nil, zip([]byte(`{"Records":[]}`)), map[string]string{}}
		}, []string{"file-unlisted"}},
		{"a log file copied", func(w *world) {
			w.objects[place(home).LogKey(w.start.Add(time.Minute), "copied0000000000")] = w.objects[w.files[home][4]]
		}, []string{"file-unlisted"}},
		{"a file that is no log file added", func(w *world) {
			w.objects[place(home).LogPrefix()+"2026/11/24/readme.txt"] = object{nil, zip(nil), map[string]string{}}
		}, []string{"file-unlisted"}},
		{"the newest log file removed", func(w *world) { delete(w.objects, last(w.files[home], 1)) }, []string{"file-missing"}},
		{"the newest log file changed", func(w *world) { w.set(last(w.files[home], 1), []byte(`{"Records":[]}`)) }, []string{"file-altered"}},
		{"a digest changed", func(w *world) {
			k := w.digests[home][2]
			w.set(k, bytes.Replace(w.objects[k].plain, []byte(`"records":4`), []byte(`"records":5`), 1))
		}, []string{"digest-signature"}},
		{"a digest removed", func(w *world) { delete(w.objects, w.digests[home][2]) }, []string{"digest-missing", "file-unlisted"}},
		{"a digest removed with its files", func(w *world) {
			for _, f := range w.digest(w.digests[home][2]).LogFiles {
				delete(w.objects, f.Object)
			}
			delete(w.objects, w.digests[home][2])
		}, []string{"digest-missing"}},
		{"adjacent digests removed with their files", func(w *world) {
			for _, k := range w.digests[home][2:5] {
				for _, f := range w.digest(k).LogFiles {
					delete(w.objects, f.Object)
				}
				delete(w.objects, k)
			}
		}, []string{"digest-missing"}},
		{"the oldest digest removed with its files", func(w *world) {
			for _, f := range w.digest(w.digests[home][0]).LogFiles {
				delete(w.objects, f.Object)
			}
			delete(w.objects, w.digests[home][0])
		}, []string{"digest-missing"}},
		{"everything before a stop removed", func(w *world) {
			for _, k := range w.digests[home][:2] {
				for _, f := range w.digest(k).LogFiles {
					delete(w.objects, f.Object)
				}
				delete(w.objects, k)
			}
		}, []string{"digest-missing"}},
		{"the newest digest removed", func(w *world) { delete(w.objects, last(w.digests[home], 1)) }, []string{"tail-truncated"}},
		{"the newest hours removed", func(w *world) {
			for _, k := range w.digests[home][4:] {
				for _, f := range w.digest(k).LogFiles {
					delete(w.objects, f.Object)
				}
				delete(w.objects, k)
			}
			delete(w.objects, last(w.files[home], 1))
		}, []string{"file-missing", "tail-truncated"}},
		{"all digests of a region removed", func(w *world) {
			for _, k := range w.digests["eu-west-1"] {
				delete(w.objects, k)
			}
		}, []string{"region-missing", "tail-truncated"}},
		{"a signature changed", func(w *world) {
			m := w.objects[w.digests[home][2]].meta
			m[digest.MetaSignature] = strings.Repeat("00", 256)
		}, []string{"digest-signature"}},
		{"a signature removed", func(w *world) {
			delete(w.objects[last(w.digests[home], 1)].meta, digest.MetaSignature)
			w.cfg.Anchors = nil
		}, []string{"digest-signature"}},
		{"signed with another key", func(w *world) {
			k := last(w.digests[home], 1)
			d := w.digest(k)
			d.PublicKeyFingerprint = keyOf(other).Fingerprint
			w.put(d, other)
		}, []string{"digest-signature", "tail-truncated"}},
		{"signed with another key under the old fingerprint", func(w *world) { w.put(w.digest(w.digests[home][2]), other) }, []string{"digest-signature"}},
		{"an old digest in a newer one's place", func(w *world) {
			w.objects[last(w.digests[home], 1)] = w.objects[w.digests[home][2]]
		}, []string{"digest-moved", "tail-truncated"}},
		{"a digest under another name", func(w *world) {
			w.objects[place(home).DigestKey("audit", home, w.start.Add(90*time.Minute))] = w.objects[w.digests[home][0]]
		}, []string{"digest-moved"}},
		{"digests swapped", func(w *world) {
			a, b := w.digests[home][0], w.digests[home][1]
			w.objects[a], w.objects[b] = w.objects[b], w.objects[a]
		}, []string{"digest-moved"}},
		{"a digest cut short", func(w *world) {
			o := w.objects[w.digests[home][2]]
			o.body = o.body[:len(o.body)-9]
			w.objects[w.digests[home][2]] = o
		}, []string{"digest-invalid", "file-unlisted"}},
		{"a digest that is none", func(w *world) { w.set(w.digests[home][2], []byte(`{}`)) }, []string{"digest-invalid", "file-unlisted"}},
		// Whoever holds the signing key can sign what they like, but not what
		// the next digest has fixed.
		{"rewritten with the right key", func(w *world) {
			d := w.digest(w.digests[home][2])
			delete(w.objects, d.LogFiles[2].Object)
			d.LogFiles = d.LogFiles[:2]
			d.Extension.Last = d.LogFiles[1].Records.Last
			w.put(d, testKey())
		}, []string{"digest-chain", "record-gap"}},
		{"a file dropped from the newest digest with the right key", func(w *world) {
			d := w.digest(last(w.digests[home], 1))
			delete(w.objects, d.LogFiles[1].Object)
			d.LogFiles = slices.Delete(d.LogFiles, 1, 2)
			w.put(d, testKey())
			w.cfg.Anchors = nil
		}, []string{"record-gap"}},
		{"an event twice", func(w *world) {
			k := last(w.files[home], 1)
			p := bytes.Replace(w.objects[k].plain, []byte(`"eventID":"000000`), []byte(`"eventID":"000000`), 1)
			first := w.objects[w.files[home][0]].plain
			id := first[bytes.Index(first, []byte(`"eventID":"0`)):][:20]
			i := bytes.Index(p, []byte(`"eventID":"0`))
			p = append(append(bytes.Clone(p[:i]), id...), p[i+20:]...)
			w.set(k, p)
			w.cfg.Anchors[home].Files[0].Hash = digest.Hash(p)
		}, []string{"duplicate-event"}},
		{"the newest digest removed, delivery time known", func(w *world) {
			w.cfg.Anchors = map[string]Anchor{home: {Time: w.chain[home].end.Add(2 * time.Second)}}
			delete(w.objects, last(w.digests[home], 1))
		}, []string{"tail-truncated"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(6, 3)
			tt.do(w)
			r, err := Run(t.Context(), w.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got := kinds(r); !slices.Equal(got, tt.want) || r.ExitCode() != ExitFindings {
				t.Errorf("found %q, want %q: %+v", got, tt.want, r.Findings)
			}
			var b bytes.Buffer
			if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "FOUND") {
				t.Errorf("%s %v", b.String(), err)
			}
		})
	}
}

// TestNotTampering: what looks odd and is allowed.
func TestNotTampering(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(w *world){
		"another trail's file": func(w *world) {
			w.objects[place(home).LogKey(w.start, "other00000000000")] = object{nil, zip([]byte(`{"Records":[]}`)), map[string]string{digest.MetaTrail: trailARN + "2"}}
			w.cfg.OtherTrails = []string{trailARN + "2"}
		},
		"delivery time known": func(w *world) {
			w.cfg.Anchors = map[string]Anchor{home: {Time: w.chain[home].end.Add(2 * time.Second)}}
		},
		"a file that came late": func(w *world) {
			w.cfg.Anchors = nil
			f := w.file(home, w.start.Add(time.Minute), 2)
			_ = f
		},
	} {
		w := newWorld(6, 3)
		do(w)
		if r, err := Run(t.Context(), w.cfg); err != nil || r.ExitCode() != ExitClean {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
}

func TestCannotCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(3, 1)
	w.fail = errors.New("connection refused")
	if r, err := Run(t.Context(), w.cfg); err == nil || r != nil {
		t.Errorf("a bucket that cannot be read gives %+v", r)
	}
	w = newWorld(3, 1)
	w.objects, w.cfg.Anchors = map[string]object{}, nil
	if _, err := Run(t.Context(), w.cfg); !errors.Is(err, ErrNothing) {
		t.Errorf("an empty bucket gives %v", err)
	}
	w = newWorld(3, 1)
	w.cfg.TrailARN = "arn:aws:s3:::x"
	if _, err := Run(t.Context(), w.cfg); err == nil {
		t.Error("the ARN of a bucket passes")
	}
}

// TestDirectory verifies a copy without metadata: the newest signature needs an
// anchor, all others are in the digests that follow.
func TestDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(5, 2)
	dir := t.TempDir()
	for key, o := range w.objects {
		name := filepath.Join(dir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, o.body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, err := NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.Source = src
	if r, err := Run(t.Context(), w.cfg); err != nil || r.ExitCode() != ExitClean {
		t.Errorf("with anchors: %+v %v", r, err)
	}
	w.cfg.Anchors = nil
	if r, err := Run(t.Context(), w.cfg); err != nil || r.ExitCode() != ExitUnknown || len(r.Findings) != 0 {
		t.Errorf("without: %+v %v", r, err)
	}
	// A copy need not say which bucket it is of: its digests do.
	named := w.cfg.Bucket
	w.cfg.Bucket = ""
	if r, err := Run(t.Context(), w.cfg); err != nil || r.ExitCode() != ExitUnknown || len(r.Findings) != 0 || r.Bucket != named {
		t.Errorf("without the bucket's name: %+v %v", r, err)
	}
	if err := os.Remove(filepath.Join(dir, filepath.FromSlash(w.files[home][1]))); err != nil {
		t.Fatal(err)
	}
	if r, err := Run(t.Context(), w.cfg); err != nil || r.ExitCode() != ExitFindings {
		t.Errorf("with a file removed: %+v %v", r, err)
	}
}

// taken is a record that a splitter told of.
type taken struct{ record, id string }

// split takes content apart that comes in pieces of n bytes.
func split(b []byte, count, n int) (out []taken, ok bool) {
	s := splitter{each: func(record, id []byte) { out = append(out, taken{string(record), string(id)}) }}
	s.reset(count)
	for piece := range slices.Chunk(b, n) {
		s.write(piece)
	}
	ok = s.finish()
	return out, ok
}

// TestSplitter: records are found as spans finds them, or not at all, whatever
// the pieces are that the content comes in.
func TestSplitter(t *testing.T) {
	t.Parallel()
	one := `{"eventVersion":"1.11","eventID":"1","x":"},{\"eventVersion\":\""}`
	for name, tt := range map[string]struct {
		plain string
		count int
		ok    bool
	}{
		"three":                   {`{"Records":[` + one + "," + one + "," + one + `]}`, 3, true},
		"other count":             {`{"Records":[` + one + `]}`, 2, false},
		"an id in another object": {`{"Records":[{"eventVersion":"1","a":{"eventID":"x"},"eventID":"1"}]}`, 1, false},
		"a list of such objects":  {`{"Records":[{"eventVersion":"1","eventID":"1","a":[{"b":1},{"eventVersion":"2"}]}]}`, 1, false},
		"none":                    {`{"Records":[]}`, 0, false},
	} {
		records, err := spans([]byte(tt.plain))
		if err != nil {
			t.Fatal(err)
		}
		var want []taken
		for _, r := range records {
			want = append(want, taken{tt.plain[r.begin:r.end], string(r.id)})
		}
		for n := 1; n <= len(tt.plain); n++ {
			got, ok := split([]byte(tt.plain), tt.count, n)
			if ok != tt.ok || ok && !slices.Equal(got, want) {
				t.Fatalf("%s, in pieces of %d: %v %+v, want %v %+v", name, n, ok, got, tt.ok, want)
			}
		}
	}
}

func FuzzSpans(f *testing.F) {
	f.Add([]byte(`{"Records":[{"a":{"eventID":"x"},"eventID":"1"},{"eventID":"2","b":"\"eventID\":\"3"}]}`))
	f.Add([]byte(`{"Records":[]}`))
	f.Add([]byte(`{"Records":["\\]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, err := spans(b)
		if err != nil {
			return
		}
		quick, ok := split(b, len(ids), len(b))
		for _, n := range []int{1, 7} { // how it comes makes no difference
			if again, okay := split(b, len(ids), n); okay != ok || !slices.Equal(again, quick) {
				t.Fatalf("in pieces of %d: %v %q, whole: %v %q", n, okay, again, ok, quick)
			}
		}
		var want struct{ Records []map[string]json.RawMessage }
		if json.Unmarshal(b, &want) != nil || !json.Valid(b) {
			return
		}
		if len(ids) != len(want.Records) {
			t.Fatalf("%d ids in %d records", len(ids), len(want.Records))
		}
	})
}
