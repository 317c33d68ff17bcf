package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"slices"

	"spoor/internal/tree"
)

// pass is one reading of a log file: it is hashed and taken apart piece by
// piece as it is inflated, while each piece is still in the processor's cache.
// A file of megabytes that is inflated first and then read again for each hash
// takes three times as long.
type pass struct {
	seed   maphash.Seed
	limit  int64
	size   int64
	whole  hash.Hash
	hasher *tree.Hasher
	split  splitter
	leaves []tree.Hash
	ids    []uint64 // hashes of the event ids
}

func newPass() *pass {
	p := &pass{whole: sha256.New(), hasher: tree.NewHasher()}
	p.split.each = func(record, id []byte) {
		p.leaves = append(p.leaves, p.hasher.Leaf(record))
		p.ids = append(p.ids, maphash.Bytes(p.seed, id))
	}
	return p
}

// run reads what a scratch holds. Its error is that of the gzip member.
func (p *pass) run(s *scratch, limit int64, seed maphash.Seed, count int) error {
	p.seed, p.limit, p.size = seed, limit, 0
	p.whole.Reset()
	p.split.reset(count)
	p.leaves, p.ids = p.leaves[:0], p.ids[:0]
	if err := s.member(); err != nil {
		return err
	}
	if _, err := s.zip.WriteTo(p); err != nil {
		return err
	}
	return s.end()
}

// sum is the content's hash.
func (p *pass) sum() string { return hex.EncodeToString(p.whole.Sum(nil)) }

// matches reports whether the records, as the splitter found them, make the
// subtrees that a digest lists. If so they are the records.
func (p *pass) matches(l *logFile) bool {
	return l.tree != nil && len(l.tree.Sums) > 0 && p.split.finish() && slices.Equal(tree.Sums(l.tree.First, p.leaves), l.tree.Sums)
}

// Write takes the next piece of the content.
func (p *pass) Write(b []byte) (int, error) {
	if p.size += int64(len(b)); p.size > p.limit {
		return 0, fmt.Errorf("more than %d bytes", p.limit)
	}
	p.whole.Write(b) // never fails (hash.Hash)
	p.split.write(b)
	return len(b), nil
}

const (
	logHead = `{"Records":[`
	logTail = `]}`
	// maxHeld is the longest record that the splitter holds. A record has at
	// most 256 KB, or 1 MB.
	maxHeld = 2 << 20
)

// between is what stands between two records as they are written. A quote within
// a JSON string is escaped, so it stands nowhere else but between two objects
// of some list.
var between = []byte(`},{"eventVersion":"`)

// idMember is what stands before a record's id. It is looked for by its end,
// which begins with a byte that is rare in records; the quote is everywhere.
var idMember, idMemberEnd = []byte(`"eventID":"`), []byte(`D":"`)

// idStart is the index behind the first idMember from index at on, or -1.
func idStart(record []byte, at int) int {
	for {
		i := bytes.Index(record[at:], idMemberEnd)
		if i < 0 {
			return -1
		}
		if at += i + len(idMemberEnd); bytes.HasSuffix(record[:at], idMember) {
			return at
		}
	}
}

// splitter is spans by looking for what stands between records: much faster,
// and right only if no record holds a list of such objects. The Merkle tree
// tells.
type splitter struct {
	each  func(record, id []byte)
	want  int    // records there should be
	n     int    // records there were
	held  []byte // the record that is not complete yet
	begun bool
	off   bool // the content cannot be taken apart so
}

func (s *splitter) reset(want int) {
	s.want, s.n, s.begun, s.off = want, 0, false, want <= 0
	s.held = s.held[:0]
}

func (s *splitter) write(b []byte) {
	if s.off {
		return
	}
	searched := max(len(s.held)-len(between)+1, 0)
	s.held = append(s.held, b...)
	begin := 0
	if !s.begun {
		if len(s.held) < len(logHead) {
			return
		}
		if string(s.held[:len(logHead)]) != logHead {
			s.off = true
			return
		}
		s.begun, begin, searched = true, len(logHead), len(logHead)
	}
	for {
		i := bytes.Index(s.held[searched:], between)
		if i < 0 {
			break
		}
		end := searched + i + 1
		if !s.record(s.held[begin:end]) {
			return
		}
		begin = end + 1
		searched = begin
	}
	s.held = s.held[:copy(s.held, s.held[begin:])]
	s.off = len(s.held) > maxHeld
}

// record tells of one record; it returns false when that cannot be one.
func (s *splitter) record(record []byte) bool {
	s.off = true
	if s.n++; s.n > s.want {
		return false
	}
	i := idStart(record, 0)
	if i < 0 || idStart(record, i) >= 0 {
		return false // one of them is in another object
	}
	id := record[i:]
	n := bytes.IndexByte(id, '"')
	if n < 0 || bytes.IndexByte(id[:n], '\\') >= 0 {
		return false
	}
	s.each(record, id[:n])
	s.off = false
	return true
}

// finish reports whether the content was a list of as many records as wanted.
func (s *splitter) finish() bool {
	if s.off || !s.begun || !bytes.HasSuffix(s.held, []byte("}"+logTail)) {
		return false
	}
	ok := s.record(s.held[:len(s.held)-len(logTail)]) && s.n == s.want
	s.off = true
	return ok
}

// member begins with the gzip member that the scratch holds.
func (s *scratch) member() error {
	s.in.Reset(s.raw.Bytes())
	if err := s.zip.Reset(&s.in); err != nil {
		return err
	}
	s.zip.Multistream(false)
	return nil
}

// end checks that nothing follows the member: AWS's validator reads only the
// first, so what follows it would be seen by a consumer and proven by nobody.
func (s *scratch) end() error {
	if s.in.Len() > 0 {
		return errors.New("something follows the member")
	}
	return nil
}

var _ io.Writer = (*pass)(nil)
