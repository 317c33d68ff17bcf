package trail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// compressionLevel is gzip's: records repeat themselves so much that higher
// levels cost more time than they save space.
const compressionLevel = 3

// member is a file's content on its way into one gzip member, hashed and
// compressed as it comes, so that a log file of some megabytes is never in
// memory whole. AWS's validator reads only the first member of an object.
type member struct {
	sum  hash.Hash
	zip  *gzip.Writer
	out  bytes.Buffer
	size int // bytes before compression
}

// writers are gzip's working memory, shared by all trails.
var writers = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, compressionLevel)
	if err != nil {
		panic(fmt.Sprintf("trail: gzip level %d: %v", compressionLevel, err)) // a constant of this package
	}
	return z
}}

func newMember() *member {
	o := &member{sum: sha256.New(), zip: writers.Get().(*gzip.Writer)}
	o.zip.Reset(&o.out)
	return o
}

func (o *member) write(p []byte) error {
	o.size += len(p)
	o.sum.Write(p) // never fails (hash.Hash)
	if _, err := o.zip.Write(p); err != nil {
		return fmt.Errorf("compressing: %w", err)
	}
	return nil
}

// close ends the content and returns the object's bytes and the hash of the
// uncompressed ones, as digests give it.
func (o *member) close() (body []byte, sum string, err error) {
	if err := o.zip.Close(); err != nil {
		return nil, "", fmt.Errorf("compressing: %w", err)
	}
	writers.Put(o.zip)
	o.zip = nil
	return o.out.Bytes(), hex.EncodeToString(o.sum.Sum(nil)), nil
}
