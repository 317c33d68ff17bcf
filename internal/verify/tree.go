package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"spoor/internal/digest"
	"spoor/internal/tree"
)

// outside is a checkpoint that was kept outside the bucket.
type outside struct {
	tree.Checkpoint
	met bool
	// unproven is its text when no key that was given signed it: one that they
	// vouch for may have.
	unproven string
}

// checkpoints reads the configured checkpoints, by region. With keys each must
// be signed by one of them; without, whoever gives them vouches for them.
func (v *verifier) checkpoints() (map[string][]*outside, error) {
	out := map[string][]*outside{}
	for _, text := range v.cfg.Checkpoints {
		region, c, err := v.checkpoint(text)
		if err != nil {
			return nil, err
		}
		out[region] = append(out[region], c)
	}
	return out, nil
}

// checkpoint reads one checkpoint of the trail.
func (v *verifier) checkpoint(text string) (region string, _ *outside, err error) {
	c, err := tree.ParseCheckpoint(text)
	if err != nil {
		return "", nil, fmt.Errorf("reading a checkpoint: %w", err)
	}
	unproven := ""
	if len(v.cfg.CheckpointKeys) > 0 {
		if _, err := tree.OpenCheckpoint(text, v.cfg.CheckpointKeys); err != nil {
			unproven = text
		}
	}
	region, ok := strings.CutPrefix(c.Origin, tree.Origin(v.account, v.home, v.name, ""))
	if !ok || region == "" || strings.Contains(region, "/") {
		return "", nil, fmt.Errorf("the checkpoint is of %s, not of the trail", c.Origin)
	}
	return region, &outside{Checkpoint: c, unproven: unproven}, nil
}

// unsigned reports whether the region's digests are proven by checkpoints, as
// there is no key to check their signatures with.
func (v *verifier) unsigned(r *region) bool {
	return len(r.keys) == 0 && (len(v.cfg.CheckpointKeys) > 0 || len(v.cfg.Checkpoints) > 0 || v.cfg.Tiles != nil)
}

// trees computes the region's Merkle tree along its digests and holds it
// against their checkpoints and those from outside. Log files were verified
// before, their leaves against the subtrees that digests name.
func (v *verifier) trees(ctx context.Context, r *region, nodes []*node) error {
	v.trust(r, nodes)
	for _, c := range r.outside {
		if c.unproven != "" {
			if _, err := tree.OpenCheckpoint(c.unproven, r.trusted); err != nil {
				return fmt.Errorf("reading a checkpoint: %w", err)
			}
		}
	}
	if err := v.keptBefore(r); err != nil {
		return err
	}
	var at *tree.Frontier
	var prev *node
	proven := false
	for _, n := range nodes {
		if !n.sound {
			continue
		}
		x := n.d.Extension
		if x == nil || x.Tree == nil {
			at, prev, r.treeless = nil, n, true
			continue
		}
		if before := &x.Tree.Before; at != nil && prev.d.Extension.Number+1 == x.Number && !at.Equal(before) || prev == nil && x.Number == 1 && before.Size != 0 {
			v.mismatch(r, n.key, 0, 0, "the digest's Merkle tree does not continue the one before it")
		}
		v.follows(r, prev, n)
		at = v.digestTree(r, n)
		prev, r.treeless = n, at == nil
		if at != nil {
			same, err := v.meetTiles(ctx, r, n, at)
			if err != nil {
				return err
			}
			proven = v.meet(r, n, at) || same || len(v.cfg.CheckpointKeys) > 0
			r.TreeSize, r.Checkpoint = at.Size, x.Tree.Checkpoint
		}
	}
	if v.unsigned(r) && !proven && prev != nil {
		v.unproven("the digests of %s behind the last checkpoint are not signed by a known key", r.Region)
	}
	return nil
}

// ends holds the end of the tree against the checkpoints from outside that no
// digest met. The end of the trail was looked at before.
func (v *verifier) ends(r *region) {
	if r.truncated || r.treeless {
		return // told already, or not to be told
	}
	for _, c := range r.outside {
		if c.met {
			continue
		}
		switch {
		case c.Size > r.TreeSize:
			v.find(Finding{Kind: TailTruncated, Region: r.Region, Bucket: v.cfg.Bucket, FirstSeq: r.LastSeq + 1, LastSeq: r.LastSeq + c.Size - r.TreeSize,
				Detail: fmt.Sprintf("a checkpoint outside the bucket is of %d records, the bucket's digests of %d: at least these numbers are missing, or as many before them were taken out of the digests", c.Size, r.TreeSize)})
		case v.cfg.Start.IsZero() && v.cfg.End.IsZero():
			v.mismatch(r, "", 0, 0, "a checkpoint outside the bucket is of %d records; no digest ends there", c.Size)
		}
	}
}

func (v *verifier) mismatch(r *region, key string, first, last uint64, format string, args ...any) {
	v.find(Finding{Kind: TreeMismatch, Region: r.Region, Bucket: v.cfg.Bucket, Key: key, FirstSeq: first, LastSeq: last, Detail: fmt.Sprintf(format, args...)})
}

// digestTree computes the tree after a digest's log files and checks the
// digest's checkpoint. It returns nil when the tree cannot be computed.
func (v *verifier) digestTree(r *region, n *node) *tree.Frontier {
	x := n.d.Extension
	at, err := v.grow(r, n.d, nil)
	if errors.Is(err, errUnread) {
		return nil // the file's own finding says it
	}
	if err != nil {
		v.mismatch(r, n.key, x.First, x.Last, "%v", err)
		return nil
	}
	c, err := tree.OpenCheckpoint(x.Tree.Checkpoint, r.keysOf(x.Tree.Key))
	switch want := (tree.Checkpoint{Origin: tree.Origin(v.account, v.home, v.name, r.Region), Size: at.Size, Root: at.Root()}); {
	case err != nil:
		v.badKey(r, n, "%v", err)
	case c != want:
		v.mismatch(r, n.key, x.First, x.Last, "the digest's checkpoint is of %d records in %s, its log files make a tree of %d with another root", c.Size, c.Origin, at.Size)
	}
	r.CheckpointKey = x.Tree.Key
	return at
}

// errUnread says that a subtree is not known, because its log file was not.
var errUnread = errors.New("a log file's part of the Merkle tree is not known")

// grow computes the tree after a digest's log files. made may be nil.
func (v *verifier) grow(r *region, d *digest.Digest, made func(level int, index uint64, h tree.Hash)) (*tree.Frontier, error) {
	at := d.Extension.Tree.Before.Clone()
	at.Made = made
	jump := func() error {
		if !at.Valid() {
			return fmt.Errorf("the Merkle tree before leaf %d is damaged", at.Size)
		}
		if made != nil {
			at.Tell()
		}
		return nil
	}
	if err := jump(); err != nil {
		return nil, err
	}
	for i := range d.LogFiles {
		f := &d.LogFiles[i]
		if f.Records == nil || f.Records.Tree == nil {
			return nil, fmt.Errorf("the digest does not say where %s is in the Merkle tree", f.Object)
		}
		l := f.Records.Tree
		if l.First != at.Size {
			at.Size, at.Hashes = l.First, append([]tree.Hash(nil), l.Before...)
			if err := jump(); err != nil {
				return nil, err
			}
		}
		sums := l.Sums
		if len(sums) == 0 && f.Records.Count > 0 {
			if sums = r.sums[f.Object]; sums == nil {
				return nil, errUnread
			}
		}
		if err := at.Extend(uint64(f.Records.Count), sums); err != nil {
			return nil, err
		}
	}
	return &at, nil
}

// meet holds a tree against the checkpoints from outside of its size.
func (v *verifier) meet(r *region, n *node, at *tree.Frontier) (met bool) {
	for _, c := range r.outside {
		if c.Size != at.Size {
			continue
		}
		met = true
		if !c.met && !r.diverged && c.Root != at.Root() {
			v.mismatch(r, n.key, 1, r.LastSeq, "a checkpoint outside the bucket has another root at %d records: some of them were changed, and the digests with them", c.Size)
		}
		c.met = true
	}
	return met
}

// leaves hashes a log file's records.
func leaves(records []span, plain []byte) []tree.Hash {
	out := make([]tree.Hash, len(records))
	h := tree.NewHasher()
	for i, s := range records {
		out[i] = h.Leaf(plain[s.begin:s.end])
	}
	return out
}

// records checks the leaves of a log file whose content is as its digest says,
// and returns the hashes of its event ids, for as long as the scratch is held.
func (v *verifier) records(r *region, l *logFile, s *scratch) ([]uint64, error) {
	if s.pass.matches(l) {
		return s.pass.ids, nil
	}
	if err := s.gunzip(maxLogFile); err != nil {
		return nil, err
	}
	records, err := spans(s.plain)
	if err != nil {
		return nil, err
	}
	ids := make([]uint64, len(records))
	for i := range records {
		ids[i] = v.ids.hash(records[i].id)
	}
	if l.tree == nil || len(records) != l.count {
		return ids, nil
	}
	sums := tree.Sums(l.tree.First, leaves(records, s.plain))
	switch {
	case len(l.tree.Sums) == 0:
		v.mu.Lock()
		r.sums[l.key] = sums
		v.mu.Unlock()
	case !slices.Equal(sums, l.tree.Sums):
		v.mismatch(r, l.key, l.first, l.last, "the digest's part of the Merkle tree is not that of the log file's records")
	}
	return ids, nil
}

// narrow finds which of a log file's records an altered content concerns, by
// the subtrees that still hold from its begin and from its end: positions
// [from, to) of the records as they were.
func narrow(l *logFile, plain []byte) (from, to int, ok bool) {
	records, err := spans(plain)
	if err != nil || l.tree == nil || l.count <= 0 {
		return 0, 0, false
	}
	blocks := tree.Blocks(l.tree.First, uint64(l.count))
	if len(blocks) != len(l.tree.Sums) {
		return 0, 0, false
	}
	now := leaves(records, plain)
	holds := func(i, at int) bool {
		n := int(blocks[i].Len())
		return at >= 0 && at+n <= len(now) && tree.Sum(append([]tree.Hash(nil), now[at:at+n]...)) == l.tree.Sums[i]
	}
	i, j, end := 0, len(blocks), len(now)
	for i < j && holds(i, from) {
		from += int(blocks[i].Len())
		i++
	}
	for to = l.count; j > i; j-- {
		n := int(blocks[j-1].Len())
		if end-n < from || !holds(j-1, end-n) {
			break
		}
		end, to = end-n, to-n
	}
	if from == to { // something was put in between, or nothing is wrong with the records
		from, to = max(from-1, 0), min(to+1, l.count)
	}
	return from, to, from < to
}

// Proof is the outcome of Prove.
type Proof struct {
	Region   string
	Key      string // the log file
	Record   []byte
	Sequence uint64 // 0 when not known
	*tree.Proof
}

// ErrNoRecord says that no log file which a digest lists has the record.
var ErrNoRecord = errors.New("verify: no log file in a digest has the record")

// Prove makes the inclusion proof of a record, under the checkpoint of its
// region's newest digest. The digests are verified, and the record's own log
// file; what else the bucket holds is not looked at.
func Prove(ctx context.Context, cfg Config, eventID string) (*Proof, error) {
	v, err := newVerifier(cfg)
	if err != nil {
		return nil, err
	}
	regions, err := v.discover(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range regions {
		nodes, err := v.readDigests(ctx, r)
		if err != nil {
			return nil, err
		}
		v.chain(r, nodes)
		p, err := v.prove(ctx, r, nodes, eventID)
		if err != nil || p != nil {
			return p, err
		}
	}
	return nil, fmt.Errorf("%w %s", ErrNoRecord, eventID)
}

// hit is where a record was found.
type hit struct {
	file   *digest.LogFile
	record []byte
	place  int
}

func (v *verifier) prove(ctx context.Context, r *region, nodes []*node, id string) (*Proof, error) {
	sound := nodes[:0:0]
	var files []*digest.LogFile
	for _, n := range nodes {
		if n.sound && n.d.Extension != nil && n.d.Extension.Tree != nil {
			sound = append(sound, n)
			for i := range n.d.LogFiles {
				files = append(files, &n.d.LogFiles[i])
			}
		}
	}
	found, err := v.look(ctx, r, files, id)
	if err != nil || found == nil {
		return nil, err
	}
	l := found.file.Records.Tree
	p := &Proof{Region: r.Region, Key: found.file.Object, Record: found.record}
	if x := found.file.Records; uint64(x.Count) == x.Last-x.First+1 {
		p.Sequence = x.First + uint64(found.place)
	}
	newest := sound[len(sound)-1].d.Extension.Tree.Checkpoint
	c, err := tree.ParseCheckpoint(newest)
	if err != nil {
		return nil, err
	}
	prover, err := tree.NewProver(c.Size, l.First+uint64(found.place))
	if err != nil {
		return nil, err
	}
	for _, n := range sound {
		if _, err := v.grow(r, n.d, prover.Made); err != nil {
			return nil, fmt.Errorf("digest %s: %w", n.key, err)
		}
	}
	// Within its own log file the leaf's neighbours are wanted one by one.
	plain, _, err := v.get(ctx, found.file.Bucket, found.file.Object, maxLogFile)
	if err != nil {
		return nil, err
	}
	records, err := spans(plain)
	if err != nil {
		return nil, err
	}
	inner := leaves(records, plain)
	for _, b := range tree.Blocks(l.First, uint64(len(inner))) {
		at := tree.Frontier{Size: b.First, Made: prover.Made}
		for i := range b.Len() {
			if err := at.Subtree(i, inner[b.First-l.First+i]); err != nil {
				return nil, err
			}
		}
	}
	if p.Proof, err = prover.Proof(newest); err != nil {
		return nil, fmt.Errorf("%w; digests may be missing", err)
	}
	// What is handed out has been checked as a stranger will.
	v.trust(r, sound)
	if _, err := p.Check(p.Record, r.keysOf(sound[len(sound)-1].d.Extension.Tree.Key)); err != nil {
		return nil, fmt.Errorf("the trail was tampered with: %w", err)
	}
	return p, nil
}

// look finds a record in log files whose content is as their digests say. It
// also keeps the subtrees of those whose digests do not.
func (v *verifier) look(ctx context.Context, r *region, files []*digest.LogFile, id string) (*hit, error) {
	var mu sync.Mutex
	var found *hit
	err := v.each(ctx, len(files), func(i int) error {
		f := files[i]
		if f.Records == nil || f.Records.Tree == nil {
			return nil
		}
		plain, _, err := v.get(ctx, f.Bucket, f.Object, maxLogFile)
		if errors.Is(err, ErrNotFound) || errors.Is(err, errGzip) {
			return nil
		}
		if err != nil {
			return err
		}
		if digest.Hash(plain) != f.Hash {
			return nil
		}
		records, err := spans(plain)
		if err != nil {
			return nil
		}
		if len(f.Records.Tree.Sums) == 0 {
			sums := tree.Sums(f.Records.Tree.First, leaves(records, plain))
			mu.Lock()
			r.sums[f.Object] = sums
			mu.Unlock()
		}
		for j, s := range records {
			if string(s.id) == id {
				mu.Lock()
				found = &hit{f, plain[s.begin:s.end], j}
				mu.Unlock()
			}
		}
		return nil
	})
	return found, err
}
