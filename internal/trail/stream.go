package trail

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"spoor/internal/digest"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/tree"
)

// streamState is the durable part of a stream: a trail's records of one region.
type streamState struct {
	Version int `json:"version"`
	// Cursor is the journal's number up to which everything is in a planned
	// file, Covered the same as a number of the account and region.
	Cursor  uint64 `json:"cursor"`
	Covered uint64 `json:"covered"`
	// NextFile numbers the queue's rows.
	NextFile uint64 `json:"nextFile"`
	// Rebase says that records were passed over since Covered, because the trail
	// did not log; coverage goes on at the next record.
	Rebase bool  `json:"rebase,omitempty"`
	Chain  chain `json:"chain"`
	// Tree is the Merkle tree up to the last planned file.
	Tree tree.Frontier `json:"tree"`
	// What GetTrailStatus shows and what verify holds a bucket against.
	LatestDelivery       time.Time    `json:"latestDelivery,omitzero"`
	LatestDigestDelivery time.Time    `json:"latestDigestDelivery,omitzero"`
	DeliveredDigest      *digest.Link `json:"deliveredDigest,omitempty"`
	DeliveredCheckpoint  string       `json:"deliveredCheckpoint,omitempty"`
	DeliveredLast        uint64       `json:"deliveredLast,omitempty"` // the last record that it accounts for
}

// chain is the state of a stream's digests.
type chain struct {
	Open bool `json:"open"`
	// Closing says that logging stopped: the final digest follows when every
	// file is delivered.
	Closing bool      `json:"closing,omitempty"`
	Start   time.Time `json:"start,omitzero"` // of the period under way
	Number  uint64    `json:"number"`         // of the last digest
	// First is the number of the account and region from which the next digest
	// covers: behind what the last one did.
	First    uint64       `json:"first,omitempty"`
	Previous *digest.Link `json:"previous,omitempty"` // nil before a starting digest
	Prior    *digest.Link `json:"prior,omitempty"`    // last digest of the chain before
	LastEnd  time.Time    `json:"lastEnd,omitzero"`
	// Tree is the Merkle tree of the last digest's checkpoint.
	Tree tree.Frontier `json:"tree"`
}

// stream is a trail's records of one region on their way to the bucket.
type stream struct {
	f      *follower
	region string
	streamState

	// The file that collects.
	file     *member // nil before its first record
	count    int
	kind     record.Category // what it holds (fileKind)
	firstSeq uint64          // journal number of its first record
	firstAt  time.Time
	oldest   time.Time
	newest   time.Time
	leaves   []tree.Hash
	skipped  uint64 // where the passed over records before the file begin, or 0
	seen     uint64 // last number of the account and region that was read

	// The queue's rows are [head, NextFile); logs is how many of them a digest
	// will list.
	head uint64
	logs int
	// window are the first of the queue's rows, those that were uploaded at least
	// once; flying is how many of them are under way now.
	window []*flight
	flying int
	// ending says that the digest's period is over, and that the digest waits for
	// the rows before endsAt.
	ending bool
	endsAt uint64
}

// plan is a file on its way: all that is needed to upload it, again if need be.
type plan struct {
	Version   int    `json:"version"`
	Digest    bool   `json:"digest,omitempty"`
	Final     bool   `json:"final,omitempty"`
	Bucket    string `json:"bucket"`
	Key       string `json:"key"`
	Hash      string `json:"hash"`             // of the uncompressed bytes
	Stored    string `json:"stored,omitempty"` // hash of the compressed bytes, of a log file
	Signature string `json:"signature,omitempty"`
	// Of a digest: its number and its checkpoint.
	Number     uint64    `json:"number,omitempty"`
	Checkpoint string    `json:"checkpoint,omitempty"`
	First      uint64    `json:"first,omitempty"`
	Last       uint64    `json:"last,omitempty"`
	Skipped    uint64    `json:"skipped,omitempty"`
	Count      int       `json:"count,omitempty"`
	Oldest     string    `json:"oldest,omitempty"`
	Newest     string    `json:"newest,omitempty"`
	Planned    time.Time `json:"planned"`
	Listed     bool      `json:"listed,omitempty"` // goes into a digest
	Topic      string    `json:"topic,omitempty"`  // of a log file: who is told of its delivery
	Lock       *Lock     `json:"lock,omitempty"`   // of a delivered file
	// Of a listed log file: the Merkle tree before it, and its subtrees.
	Before tree.Frontier `json:"before,omitzero"`
	Sums   []tree.Hash   `json:"sums,omitempty"`
}

func (f *follower) newStream(region string) *stream {
	s := &stream{f: f, region: region, streamState: streamState{Version: formatVersion}}
	f.streams[region] = s
	return s
}

func (s *stream) save(b *kv.Batch) { b.Set(streamKey(s.f.arn, s.region), kv.MustJSON(&s.streamState)) }

func (s *stream) place() digest.Place {
	return digest.Place{Prefix: s.f.set.Prefix, Account: s.f.account, Region: s.region}
}

// activate starts a stream or starts it again.
func (s *stream) activate() {
	s.Rebase = true
	s.chainOnOff()
}

// deactivate stops it: the chain closes once everything is delivered.
func (s *stream) deactivate() {
	if s.Chain.Open {
		s.Chain.Closing = true
	}
}

// chainOnOff opens or closes the digest chain as the settings want.
func (s *stream) chainOnOff() {
	switch {
	case !s.f.set.Validation:
		s.deactivate()
	case s.Chain.Open:
		s.Chain.Closing = false // goes on; what was passed over is said in its digests
	default:
		start := s.f.m.Now()
		if start.Before(s.Chain.LastEnd) {
			start = s.Chain.LastEnd
		}
		s.Chain.Open, s.Chain.Closing, s.Chain.Start, s.Chain.First = true, false, start, s.Covered+1
	}
}

// saw notes that the record n of the account and region was read.
func (s *stream) saw(n uint64) {
	if s.Rebase {
		s.Rebase = false
		if n > s.Covered+1 && s.skipped == 0 {
			s.skipped = s.Covered + 1
		}
		s.Covered = max(s.Covered, n-1)
	}
	s.seen = n
}

// fileKind says which records share files: Insights events and aggregated
// events have files of their own, all others are one kind.
func fileKind(c record.Category) record.Category {
	if c == record.Insight || c == record.Aggregated {
		return c
	}
	return record.Management
}

// add appends a selected record to the file that collects.
func (s *stream) add(it *journal.Item, now time.Time) error {
	separator := ","
	if s.count == 0 {
		s.file, s.leaves, separator = newMember(), s.leaves[:0], `{"Records":[`
		s.firstSeq, s.firstAt = it.Seq, now
		s.oldest, s.newest = it.Time, it.Time
		s.kind = fileKind(it.Category)
	}
	if err := s.file.write([]byte(separator)); err != nil {
		return err
	}
	if err := s.file.write(it.JSON); err != nil {
		return err
	}
	s.leaves = append(s.leaves, s.f.hasher.Leaf(it.JSON))
	s.count++
	if it.Time.Before(s.oldest) {
		s.oldest = it.Time
	}
	if it.Time.After(s.newest) {
		s.newest = it.Time
	}
	return nil
}

// cut closes the file that collects, if there is one, and plans its upload in
// b. pos is the last record read.
//
// Crash story: the row holds the object's bytes, name and headers and commits
// together with the stream's cursor. Before the commit the records are only in
// the journal and are read again; after it they are in exactly one row, which
// goes away only together with the note that the bucket has the object.
func (s *stream) cut(b *kv.Batch, pos uint64) error {
	if s.count == 0 {
		return nil
	}
	now := s.f.m.cfg.Now().UTC()
	if err := s.file.write([]byte(`]}`)); err != nil {
		return err
	}
	body, sum, err := s.file.close()
	if err != nil {
		return err
	}
	name := s.place().LogKey
	switch s.kind {
	case record.Insight:
		name = s.place().InsightKey
	case record.Aggregated:
		name = s.place().AggregatedKey
	}
	p := plan{
		Version: formatVersion, Bucket: s.f.set.Bucket, Key: name(now, uniqueName()), Hash: sum,
		First: s.Covered + 1, Last: s.seen, Skipped: s.skipped, Count: s.count, Oldest: s.oldest.UTC().Format(digest.TimeLayout),
		Newest: s.newest.UTC().Format(digest.TimeLayout), Planned: now, Listed: s.Chain.Open && !s.Chain.Closing, Topic: s.f.set.Topic,
	}
	if err := s.grow(b, &p); err != nil {
		return err
	}
	s.enqueue(b, &p, body)
	s.Cursor, s.Covered, s.skipped = pos, s.seen, 0
	s.file, s.count, s.firstSeq = nil, 0, 0
	s.save(b)
	return nil
}

// enqueue writes a planned file with the bytes that its object will have.
func (s *stream) enqueue(b *kv.Batch, p *plan, body []byte) {
	if !p.Digest {
		p.Stored = digest.Hash(body)
	}
	header := kv.MustJSON(p)
	row := make([]byte, 0, binary.MaxVarintLen64+len(header)+len(body))
	row = append(binary.AppendUvarint(row, uint64(len(header))), header...)
	b.Set(fileKey(s.f.arn, s.region, s.NextFile), append(row, body...))
	s.NextFile++
	if p.Listed {
		s.logs++
	}
}

// splitRow takes a queue row apart.
func splitRow(row []byte) (p plan, body []byte, err error) {
	n, w := binary.Uvarint(row)
	if w <= 0 || n > uint64(len(row)-w) {
		return p, nil, fmt.Errorf("a planned file is damaged")
	}
	err = kv.DecodeRow(row[w:w+int(n)], &p, &p.Version, formatVersion)
	return p, row[w+int(n):], err
}

func (s *stream) queued() bool { return s.head < s.NextFile }

// loadQueue finds what waits for upload.
func (s *stream) loadQueue() error {
	s.head, s.logs = s.NextFile, 0
	prefix := filePrefix(s.f.arn, s.region)
	return s.f.m.cfg.Store.Scan(prefix, func(k, v []byte) (bool, error) {
		if len(k) != len(prefix)+8 {
			return false, fmt.Errorf("the key %q is damaged", k)
		}
		p, _, err := splitRow(v)
		if err != nil {
			return false, err
		}
		s.head = min(s.head, binary.BigEndian.Uint64(k[len(prefix):]))
		if p.Listed {
			s.logs++
		}
		return true, nil
	})
}

// uniqueName is the random part of a log file's name: 16 characters.
func uniqueName() string {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var r [16]byte
	_, _ = rand.Read(r[:]) // does not fail: it ends the process instead (Go 1.24)
	for i, c := range r {
		r[i] = letters[int(c)%len(letters)]
	}
	return string(r[:])
}
