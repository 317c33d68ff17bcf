package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"

	"spoor/internal/digest"
)

// errGzip says that an object is not one whole gzip member.
var errGzip = errors.New("not one whole gzip member")

// scratch is an object in memory, as it is stored and as it is. It is used
// again for the next one: to get the memory for a log file of some megabytes,
// cleared, takes as long as to inflate it.
type scratch struct {
	raw   bytes.Buffer
	in    bytes.Reader
	zip   gzip.Reader
	plain []byte
	pass  *pass
}

// maxKept is the largest content whose memory is used again.
const maxKept = 64 << 20

var scratches = sync.Pool{New: func() any { return &scratch{pass: newPass()} }}

func (s *scratch) release() {
	if cap(s.plain) > maxKept {
		s.plain = nil
	}
	if s.raw.Cap() > maxKept {
		s.raw = bytes.Buffer{}
	}
	scratches.Put(s)
}

// get reads an object that must be one gzip member, whole, of at most limit
// bytes uncompressed.
func (v *verifier) get(ctx context.Context, bucket, key string, limit int64) ([]byte, map[string]string, error) {
	s, meta, err := v.read(ctx, bucket, key, limit)
	if err != nil {
		return nil, meta, err
	}
	defer s.release()
	if err := s.gunzip(limit); err != nil {
		return nil, meta, fmt.Errorf("%w: %w", errGzip, err)
	}
	return bytes.Clone(s.plain), meta, nil
}

// read reads an object as it is stored; without an error the caller releases
// what it returns.
func (v *verifier) read(ctx context.Context, bucket, key string, limit int64) (*scratch, map[string]string, error) {
	body, meta, err := v.cfg.Source.Get(ctx, bucket, key)
	if err != nil {
		return nil, nil, err
	}
	s := scratches.Get().(*scratch)
	s.raw.Reset()
	// What is larger than this before it is inflated is so afterwards too.
	_, err = s.raw.ReadFrom(io.LimitReader(body, limit+1))
	if err = errors.Join(err, body.Close()); err != nil {
		s.release()
		return nil, meta, fmt.Errorf("reading %s: %w", key, err)
	}
	return s, meta, nil
}

// stored is the hash of the object's own bytes.
func (s *scratch) stored() string { return digest.Hash(s.raw.Bytes()) }

// gunzip inflates the object, whole, which must be exactly one member.
func (s *scratch) gunzip(limit int64) error {
	if err := s.member(); err != nil {
		return err
	}
	s.plain = s.plain[:0]
	for {
		if len(s.plain) == cap(s.plain) {
			// Records inflate tenfold; what is guessed too small doubles.
			grown := make([]byte, len(s.plain), max(2*cap(s.plain), 12*s.raw.Len(), 4<<10))
			copy(grown, s.plain)
			s.plain = grown
		}
		n, err := s.zip.Read(s.plain[len(s.plain):cap(s.plain)])
		s.plain = s.plain[:len(s.plain)+n]
		switch {
		case int64(len(s.plain)) > limit:
			return fmt.Errorf("more than %d bytes", limit)
		case errors.Is(err, io.EOF):
			return s.end()
		case err != nil:
			return err
		}
	}
}
