// Package verify proves a trail's files, or shows what was done to them. It is
// the library behind `spoor verify`.
//
// It stands outside the server: it needs only a way to read the bucket and the
// public keys. Beyond what AWS's validator checks (signatures, the chain of
// digests, hashes of log files) it checks the hash of each digest in the link
// to it, the gap-free numbers of digests and records, log files that no digest
// lists, events that are there twice, vanished regions and, given an Anchor,
// the end of the trail.
package verify

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"time"

	"spoor/internal/digest"
	"spoor/internal/tree"
)

// ErrNotFound is what a Source's Get wraps for an absent object.
var ErrNotFound = errors.New("verify: no such object")

// ErrNothing says that there is no digest to check: the trail has log file
// validation off, never delivered, or the bucket or prefix is another one.
var ErrNothing = errors.New("verify: no digest file of the trail was found")

// Source reads a bucket. It is called from several goroutines.
type Source interface {
	// List calls fn for each key with a prefix, in any order.
	List(ctx context.Context, bucket, prefix string, fn func(key string) error) error
	// Get opens an object as it is stored, compressed, with its user metadata
	// (names in lower case without "x-amz-meta-"); the metadata is nil where
	// the source keeps none. An absent object is ErrNotFound.
	Get(ctx context.Context, bucket, key string) (io.ReadCloser, map[string]string, error)
}

// PublicKey is a key that signed digests. Zero times do not bound.
type PublicKey struct {
	Fingerprint string
	Value       []byte // PKCS #1 DER
	Start, End  time.Time
}

// Anchor is what is known of a region's newest files from outside the bucket.
// Without one a verifier cannot tell that the newest digests were removed.
type Anchor struct {
	// Digest is the newest delivered digest; Time, when only that is known, is
	// when it was delivered (GetTrailStatus, LatestDigestDeliveryTime).
	Digest *digest.Link
	Time   time.Time
	// Last is the last record that Digest accounts for, 0 when not known.
	Last uint64
	// Files are log files delivered after that digest.
	Files []AnchorFile
	// Complete says that Files and Waiting are all that was delivered after it:
	// any other file was added by somebody. Waiting are names of files whose
	// upload is not known to have been made.
	Complete bool
	Waiting  []string
}

// AnchorFile is a log file that an anchor vouches for.
type AnchorFile struct {
	Bucket, Key, Hash, Stored string
	First, Last               uint64
	Lock                      *digest.Lock // that the file was given
}

// Config says what to verify.
type Config struct {
	Source   Source
	TrailARN string
	// Bucket may be empty where the source is a copy: it is then the one that
	// the newest digest names, under its signature.
	Bucket, Prefix string
	// Keys are by region; those of EveryRegion serve for all.
	Keys map[string][]PublicKey
	// Start and End bound the digests' end times; zero ones do not bound. Only
	// without Start can the beginning of the trail be checked.
	Start, End time.Time
	// Anchors are by region; nil leaves the trail's end unchecked.
	Anchors map[string]Anchor
	// CheckpointKeys are the keys that checkpoints must be signed with; without
	// any, a digest's own word for its key counts. Where Keys has none for a
	// region, the checkpoints stand in for the digests' signatures.
	CheckpointKeys []ed25519.PublicKey
	// AllCheckpointKeys says that CheckpointKeys are all that the trail ever had:
	// then no announcement adds another one.
	AllCheckpointKeys bool
	// Checkpoints are checkpoints of the trail that were kept outside the bucket.
	Checkpoints []string
	// Tiles is a place outside the bucket that has checkpoints and tiles: each
	// digest's tree must be the one that stands there.
	Tiles Files
	// OtherTrails are the ARNs of trails that deliver to the bucket without
	// digests: their log files are nobody's to prove.
	OtherTrails []string
	// Parallel is how many log files are read at a time; 0 means 8.
	Parallel int
}

const defaultParallel = 8

// EveryRegion is in Config.Keys the place of keys whose region is not known.
const EveryRegion = ""

// Limits on what is read.
const (
	maxLogFile   = 1 << 30 // uncompressed bytes
	maxKeyBytes  = 4 << 10 // of one public key
	maxListed    = 10_000_000
	digestMargin = 25 * time.Hour // how far a digest's files may lie before it
)

// verifier is one run.
type verifier struct {
	cfg                 Config
	home, account, name string
	report              *Report
	mu                  sync.Mutex // guards report and ids
	ids                 *idSet
	copied              bool // the newest signature is nowhere in a copy
	outside             map[string][]*outside
}

// region is what is known of one region's files.
type region struct {
	*RegionReport
	place   digest.Place
	keys    map[string]verifyKey
	digests []string          // keys of the trail's digests, by end time
	foreign []string          // keys of other trails' digests
	logs    []string          // keys of all log files
	listed  map[string]uint64 // log file → last sequence number
	newest  *node
	sums    map[string][]tree.Hash // of log files whose digests do not give them
	outside []*outside
	trusted []ed25519.PublicKey // checkpoint keys; none when none were given
	badKeys map[string]bool     // digests whose checkpoint has a finding
	// truncated says that the end was found missing, treeless that the Merkle
	// tree at the end is not known.
	truncated, treeless bool
	unsound             map[string]int // digest → its finding, by index in the report
	// tiles are those outside the bucket, nil where there are none; diverged says
	// that they are of another tree.
	tiles    *tree.Tiles
	diverged bool
}

type verifyKey struct {
	PublicKey
	key *rsa.PublicKey
}

// node is a digest that was read.
type node struct {
	key   string
	hash  string
	sig   string // from the metadata, "" when there is none
	meta  bool   // the source has metadata
	d     *digest.Digest
	sound bool // signed, and where it says it is
}

// Run verifies a trail. An error means that it could not be checked, not that
// something was found; findings are in the report, which is nil on an error.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	v, err := newVerifier(cfg)
	if err != nil {
		return nil, err
	}
	regions, err := v.discover(ctx)
	if err != nil {
		return nil, err
	}
	total := 0
	for _, r := range regions {
		total += len(r.digests)
	}
	if total == 0 && !v.anyAnchor() && !slices.ContainsFunc(regions, func(r *region) bool { return r.tiles != nil }) {
		if cfg.Bucket == "" {
			return nil, fmt.Errorf("%w in the copy", ErrNothing)
		}
		return nil, fmt.Errorf("%w in bucket %s", ErrNothing, cfg.Bucket)
	}
	if err := v.nameBucket(ctx, regions); err != nil {
		return nil, err
	}
	for _, r := range regions {
		if err := v.region(ctx, r); err != nil {
			return nil, fmt.Errorf("verifying region %s: %w", r.Region, err)
		}
	}
	v.vanishedRegions(regions)
	if err := v.duplicates(ctx, regions); err != nil {
		return nil, err
	}
	for _, r := range regions {
		v.report.Regions = append(v.report.Regions, r.RegionReport)
	}
	if v.copied {
		v.unproven("the newest digest's signature is in its object's metadata, which this copy does not have; verify the bucket itself (--bucket), or give --checkpoint, --checkpoint-key or --tiles")
	}
	v.report.finish()
	return v.report, nil
}

func newVerifier(cfg Config) (*verifier, error) {
	v := &verifier{cfg: cfg, report: &Report{TrailARN: cfg.TrailARN, Bucket: cfg.Bucket, Prefix: cfg.Prefix,
		Anchored: cfg.Anchors != nil || len(cfg.Checkpoints) > 0 || cfg.Tiles != nil}, ids: newIDSet()}
	if v.cfg.Parallel <= 0 {
		v.cfg.Parallel = defaultParallel
	}
	var err error
	if v.home, v.account, v.name, err = digest.TrailName(cfg.TrailARN); err != nil {
		return nil, err
	}
	v.outside, err = v.checkpoints()
	return v, err
}

// nameBucket takes a copy's bucket from its newest sound digest. A digest that
// names another one is found afterwards, by its key or by the chain.
func (v *verifier) nameBucket(ctx context.Context, regions []*region) error {
	if v.cfg.Bucket != "" {
		return nil
	}
	for _, r := range regions {
		for _, key := range slices.Backward(r.digests) {
			plain, _, err := v.get(ctx, "", key, digest.MaxBytes)
			if errors.Is(err, ErrNotFound) || errors.Is(err, errGzip) {
				continue // found and reported later
			}
			if err != nil {
				return err
			}
			if d, err := digest.Parse(plain); err == nil && d.Object == key {
				v.cfg.Bucket, v.report.Bucket = d.Bucket, d.Bucket
				return nil
			}
		}
	}
	return nil
}

// unproven notes what could not be checked.
func (v *verifier) unproven(format string, args ...any) {
	v.report.Unproven = append(v.report.Unproven, fmt.Sprintf(format, args...))
}

func (v *verifier) anyAnchor() bool {
	if len(v.cfg.Checkpoints) > 0 {
		return true
	}
	for _, a := range v.cfg.Anchors {
		if a.Digest != nil || len(a.Files) > 0 || !a.Time.IsZero() {
			return true
		}
	}
	return false
}

func (v *verifier) find(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Findings = append(v.report.Findings, f)
}

// findDigest is find for a digest that is not sound.
func (v *verifier) findDigest(r *region, f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := r.unsound[f.Key]; !ok {
		r.unsound[f.Key] = len(v.report.Findings)
	}
	v.report.Findings = append(v.report.Findings, f)
}

// discover lists the bucket and sorts its files by region.
func (v *verifier) discover(ctx context.Context) ([]*region, error) {
	root := digest.Place{Prefix: v.cfg.Prefix, Account: v.account}
	regions := map[string]*region{}
	get := func(name string) (*region, error) {
		if r := regions[name]; r != nil {
			return r, nil
		}
		keys, err := parseKeys(slices.Concat(v.cfg.Keys[name], v.cfg.Keys[EveryRegion]))
		if err != nil {
			return nil, fmt.Errorf("public keys of %s: %w", name, err)
		}
		r := &region{RegionReport: &RegionReport{Region: name}, place: digest.Place{Prefix: v.cfg.Prefix, Account: v.account, Region: name},
			keys: keys, listed: map[string]uint64{}, unsound: map[string]int{}, badKeys: map[string]bool{}, sums: map[string][]tree.Hash{},
			outside: v.outside[name]}
		regions[name] = r
		return r, nil
	}
	n := 0
	list := func(prefix string, take func(r *region, key string)) error {
		// The prefix ends in the region's name and two slashes for the empty one.
		prefix = prefix[:len(prefix)-1]
		return v.cfg.Source.List(ctx, v.cfg.Bucket, prefix, func(key string) error {
			if n++; n > maxListed {
				return fmt.Errorf("more than %d objects; verify a shorter time with --start-time and --end-time", maxListed)
			}
			name, _, ok := cut(key[len(prefix):], '/')
			if !ok {
				return nil
			}
			r, err := get(name)
			if err != nil {
				return err
			}
			take(r, key)
			return nil
		})
	}
	err := list(root.DigestPrefix(), func(r *region, key string) {
		end, ok := r.place.ParseDigestKey(key, v.name, v.home)
		switch {
		case !ok:
			r.foreign = append(r.foreign, key)
		case v.within(end):
			r.digests = append(r.digests, key)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing digest files: %w", err)
	}
	for _, prefix := range []string{root.LogPrefix(), root.InsightPrefix(), root.AggregatedPrefix()} {
		err = errors.Join(err, list(prefix, func(r *region, key string) {
			if minute, ok := r.place.ParseLogKey(key); !ok || v.mayMatter(minute) {
				r.logs = append(r.logs, key)
			}
		}))
	}
	if err != nil {
		return nil, fmt.Errorf("listing log files: %w", err)
	}
	for name := range v.cfg.Anchors {
		if _, err := get(name); err != nil {
			return nil, err
		}
	}
	for name := range v.outside {
		if _, err := get(name); err != nil {
			return nil, err
		}
	}
	if v.cfg.Tiles != nil {
		if _, err := get(v.home); err != nil {
			return nil, err
		}
		for _, r := range regions {
			if err := v.openTiles(ctx, r); err != nil {
				return nil, err
			}
		}
	}
	out := make([]*region, 0, len(regions))
	for _, r := range regions {
		sort.Strings(r.digests) // one region and trail: by end time
		sort.Strings(r.logs)
		out = append(out, r)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Region < out[j].Region })
	return out, nil
}

func cut(s string, sep byte) (before, after string, ok bool) {
	for i := range len(s) {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func (v *verifier) within(end time.Time) bool {
	return (v.cfg.Start.IsZero() || !end.Before(v.cfg.Start)) && (v.cfg.End.IsZero() || !end.After(v.cfg.End))
}

// mayMatter reports whether a log file can belong to a digest within the time.
func (v *verifier) mayMatter(minute time.Time) bool {
	return (v.cfg.Start.IsZero() || !minute.Before(v.cfg.Start)) && (v.cfg.End.IsZero() || !minute.After(v.cfg.End))
}

func parseKeys(in []PublicKey) (map[string]verifyKey, error) {
	out := map[string]verifyKey{}
	for _, k := range in {
		if len(k.Value) > maxKeyBytes {
			return nil, fmt.Errorf("key %s has %d bytes", k.Fingerprint, len(k.Value))
		}
		key, err := digest.ParsePublicKey(k.Value)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.Fingerprint, err)
		}
		out[k.Fingerprint] = verifyKey{k, key}
	}
	return out, nil
}

// region verifies one region: its digests from the oldest on, their log files,
// then what no digest lists and the end.
func (v *verifier) region(ctx context.Context, r *region) error {
	nodes, err := v.readDigests(ctx, r)
	if err != nil {
		return err
	}
	v.chain(r, nodes)
	if err := v.files(ctx, r, nodes); err != nil {
		return err
	}
	if err := v.retention(ctx, r, nodes); err != nil {
		return err
	}
	if err := v.trees(ctx, r, nodes); err != nil {
		return err
	}
	if err := v.tail(ctx, r); err != nil {
		return err
	}
	v.ends(r)
	return v.unlisted(ctx, r)
}

// vanishedRegions looks for regions that a digest knows and the bucket does
// not.
func (v *verifier) vanishedRegions(regions []*region) {
	has := map[string]bool{}
	for _, r := range regions {
		has[r.Region] = len(r.digests) > 0
	}
	told := map[string]bool{}
	for _, r := range regions {
		if r.newest == nil || r.newest.d.Extension == nil {
			continue
		}
		for _, name := range r.newest.d.Extension.Regions {
			if !has[name] && !told[name] {
				told[name] = true
				v.find(Finding{Kind: RegionMissing, Region: name, Key: r.newest.key,
					Detail: "a signed digest says that the trail has delivered digests for this region; there is none"})
			}
		}
	}
}
