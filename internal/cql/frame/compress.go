package frame

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/golang/snappy"
	"github.com/pierrec/lz4/v4"
)

// Compression is a way of compressing bodies, agreed on in STARTUP.
type Compression uint8

// The compressions of versions 3 and 4.
const (
	None Compression = iota
	LZ4
	Snappy
)

// Compressions are the names that SUPPORTED gives.
func Compressions() []string { return []string{"snappy", "lz4"} }

// ParseCompression reads STARTUP's COMPRESSION option; ok is false for a name
// that is not supported. Drivers write either case.
func ParseCompression(name string) (c Compression, ok bool) {
	switch name {
	case "":
		return None, true
	case "lz4", "LZ4":
		return LZ4, true
	case "snappy", "SNAPPY", "Snappy":
		return Snappy, true
	}
	return None, false
}

var (
	errTooLong = errors.New("the uncompressed body exceeds the maximum allowed length")
	errShort   = errors.New("the compressed body does not hold what it declares")
)

// The limits on what a few bytes may declare to become, above what the formats
// can reach: in LZ4 a byte extends a match by at most 255 bytes, in Snappy the
// densest element copies 64 bytes and takes 3.
const (
	maxLZ4Ratio    = 256
	maxSnappyRatio = 64
)

// Decompress appends src's decompressed bytes to dst[:0]. It fails without
// allocating when src declares more than maxBody bytes.
func Decompress(c Compression, dst, src []byte, maxBody int) ([]byte, error) {
	switch c {
	case LZ4:
		// Cassandra puts the uncompressed length before the block, big-endian.
		if len(src) < 4 {
			return nil, errors.New("the compressed body is too short")
		}
		n := int(binary.BigEndian.Uint32(src))
		src = src[4:]
		if n > maxBody {
			return nil, errTooLong
		}
		if n == 0 {
			return dst[:0], nil
		}
		if n > len(src)*maxLZ4Ratio {
			return nil, errShort
		}
		dst = grow(dst, n)
		got, err := lz4.UncompressBlock(src, dst)
		if err != nil {
			return nil, fmt.Errorf("decompressing LZ4: %w", err)
		}
		if got != n {
			return nil, errShort
		}
		return dst, nil
	case Snappy:
		n, err := snappy.DecodedLen(src)
		if err != nil {
			return nil, fmt.Errorf("decompressing Snappy: %w", err)
		}
		if n > maxBody {
			return nil, errTooLong
		}
		if n > len(src)*maxSnappyRatio {
			return nil, errShort
		}
		dst, err = snappy.Decode(grow(dst, n), src)
		if err != nil {
			return nil, fmt.Errorf("decompressing Snappy: %w", err)
		}
		return dst, nil
	}
	return nil, errors.New("no compression was agreed on")
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// compress replaces the body by its compressed form; false leaves it as it is,
// because compression would not make it shorter.
func (r *Response) compress(c Compression) bool {
	body := r.buf[HeaderSize:]
	switch c {
	case LZ4:
		out := make([]byte, HeaderSize+4+lz4.CompressBlockBound(len(body)))
		n, err := lz4.CompressBlock(body, out[HeaderSize+4:], nil)
		if err != nil || n == 0 || n+4 >= len(body) {
			return false
		}
		binary.BigEndian.PutUint32(out[HeaderSize:], uint32(len(body)))
		r.buf = out[:HeaderSize+4+n]
	case Snappy:
		out := make([]byte, HeaderSize+snappy.MaxEncodedLen(len(body)))
		n := len(snappy.Encode(out[HeaderSize:], body))
		if n >= len(body) {
			return false
		}
		r.buf = out[:HeaderSize+n]
	default:
		return false
	}
	return true
}
