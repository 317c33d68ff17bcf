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

// UncompressedLen gives the length that a compressed body declares, in bytes. It
// fails when that exceeds maxBody, or what src could possibly hold.
func UncompressedLen(c Compression, src []byte, maxBody int) (int, error) {
	var n, ratio int
	switch c {
	case LZ4: // Cassandra puts the length before the block, big-endian
		if len(src) < lz4Prefix {
			return 0, errShort
		}
		n, ratio = int(binary.BigEndian.Uint32(src)), maxLZ4Ratio
	case Snappy:
		var err error
		if n, err = snappy.DecodedLen(src); err != nil {
			return 0, fmt.Errorf("decompressing Snappy: %w", err)
		}
		ratio = maxSnappyRatio
	default:
		return 0, errors.New("no compression was agreed on")
	}
	if n > maxBody {
		return 0, errTooLong
	}
	if n > len(src)*ratio {
		return 0, errShort
	}
	return n, nil
}

// lz4Prefix is how many bytes the uncompressed length takes.
const lz4Prefix = 4

// Decompress gives src's decompressed bytes, in dst's memory if that is enough.
// It fails as UncompressedLen does, and when src is not well formed.
func Decompress(c Compression, dst, src []byte, maxBody int) ([]byte, error) {
	n, err := UncompressedLen(c, src, maxBody)
	if err != nil || n == 0 {
		return dst[:0], err
	}
	dst = grow(dst, n)
	if c == LZ4 {
		n, err = lz4.UncompressBlock(src[lz4Prefix:], dst)
	} else {
		_, err = snappy.Decode(dst, src)
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	if n != len(dst) {
		return nil, errShort
	}
	return dst, nil
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
	var n int
	switch c {
	case LZ4:
		r.spare = grow(r.spare, HeaderSize+lz4Prefix+lz4.CompressBlockBound(len(body)))
		got, err := lz4.CompressBlock(body, r.spare[HeaderSize+lz4Prefix:], nil)
		if err != nil || got == 0 {
			return false
		}
		binary.BigEndian.PutUint32(r.spare[HeaderSize:], uint32(len(body)))
		n = lz4Prefix + got
	case Snappy:
		r.spare = grow(r.spare, HeaderSize+snappy.MaxEncodedLen(len(body)))
		n = len(snappy.Encode(r.spare[HeaderSize:], body))
	}
	if n == 0 || n >= len(body) {
		return false
	}
	r.buf, r.spare = r.spare[:HeaderSize+n], r.buf
	return true
}
