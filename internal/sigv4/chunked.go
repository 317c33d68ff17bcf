package sigv4

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Limits of aws-chunked bodies.
const (
	maxChunkHeader = 1 << 10 // bytes of a chunk's first line
	maxTrailer     = 8 << 10 // bytes of all trailer lines
	maxChunk       = 1 << 30 // bytes of one chunk
)

// Streaming reports whether the body is aws-chunked.
func (v *Verified) Streaming() bool { return streaming(v.PayloadHash) }

func streaming(payload string) bool { return strings.HasPrefix(payload, "STREAMING-") }

// Body wraps a request's body so that reading it verifies what the signature
// promised: the payload's hash, or each chunk's signature and the trailing
// checksum. A mismatch is an *Error instead of io.EOF, so whoever copies the
// body sees it before the end. An aws-chunked body is given decoded; its
// length is then the header X-Amz-Decoded-Content-Length.
func (v *Verified) Body(r *http.Request) (io.Reader, error) {
	switch v.PayloadHash {
	case UnsignedPayload:
		return r.Body, nil
	case StreamingSigned, StreamingSignedTrailer, StreamingUnsignedTrailer:
		announced := r.Header.Get("X-Amz-Decoded-Content-Length")
		if announced == "" {
			return nil, fail(MissingLength, "")
		}
		length, err := strconv.ParseInt(announced, 10, 64)
		if err != nil || length < 0 {
			return nil, fail(LengthMismatch, "")
		}
		c := &chunkReader{r: bufio.NewReaderSize(r.Body, 64<<10), v: v, want: length, previous: v.signature,
			signed: v.PayloadHash != StreamingUnsignedTrailer, trailer: v.PayloadHash != StreamingSigned}
		if c.trailer {
			c.checksum, c.name = checksumOf(r.Header.Get("X-Amz-Trailer"))
		}
		if c.signed {
			c.sum = sha256.New()
		}
		return c, nil
	}
	return &hashReader{r: r.Body, sum: sha256.New(), want: v.PayloadHash}, nil
}

// hashReader checks the whole body's hash at its end.
type hashReader struct {
	r    io.Reader
	sum  hash.Hash
	want string
}

func (h *hashReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		got := hex.EncodeToString(h.sum.Sum(nil))
		if subtle.ConstantTimeCompare([]byte(got), []byte(strings.ToLower(h.want))) != 1 {
			return n, fail(PayloadMismatch, "")
		}
	}
	return n, err
}

// checksumOf returns the hash that a trailer name announces, nil for a trailer
// that is no checksum.
func checksumOf(trailer string) (hash.Hash, string) {
	name := strings.ToLower(strings.TrimSpace(trailer))
	switch name {
	case "x-amz-checksum-crc32":
		return crc32.NewIEEE(), name
	case "x-amz-checksum-crc32c":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli)), name
	case "x-amz-checksum-crc64nvme":
		// The NVMe polynomial, reflected (NVM Express NVM command set, 64b CRC).
		return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)), name
	case "x-amz-checksum-sha1":
		return sha1.New(), name
	case "x-amz-checksum-sha256":
		return sha256.New(), name
	}
	return nil, name
}

// chunkReader decodes aws-chunked:
//
//	hex(size)[;chunk-signature=sig]\r\n data \r\n … 0[;…]\r\n [trailers] \r\n
//
// (S3 API reference, "Signature calculations for the Authorization header:
// transferring payload in multiple chunks").
type chunkReader struct {
	r        *bufio.Reader
	v        *Verified
	signed   bool
	trailer  bool
	previous string    // the signature before
	sum      hash.Hash // of the present chunk
	left     int64     // bytes left of the present chunk
	sig      string    // the present chunk's signature
	open     bool      // a chunk is being read
	total    int64
	want     int64
	checksum hash.Hash
	name     string
	err      error
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.read(p)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, bufio.ErrBufferFull) {
			err = fail(ChunkMalformed, "")
		}
		c.err = err
	}
	return n, err
}

func (c *chunkReader) read(p []byte) (int, error) {
	for c.left == 0 {
		if c.open {
			if err := c.endChunk(); err != nil {
				return 0, err
			}
		}
		last, err := c.startChunk()
		if err != nil {
			return 0, err
		}
		if last {
			return 0, c.finish()
		}
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	c.total += int64(n)
	if c.total > c.want {
		return 0, fail(LengthMismatch, "")
	}
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	if c.checksum != nil {
		c.checksum.Write(p[:n])
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// line reads up to \r\n.
func (c *chunkReader) line(limit int) (string, error) {
	b, err := c.r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	if len(b) > limit || len(b) < 2 || b[len(b)-2] != '\r' {
		return "", fail(ChunkMalformed, "")
	}
	return string(b[:len(b)-2]), nil
}

func (c *chunkReader) startChunk() (last bool, err error) {
	head, err := c.line(maxChunkHeader)
	if err != nil {
		return false, err
	}
	size, ext, _ := strings.Cut(head, ";")
	n, err := strconv.ParseInt(size, 16, 64)
	if err != nil || n < 0 || n > maxChunk {
		return false, fail(ChunkMalformed, "")
	}
	if c.signed {
		sig, ok := strings.CutPrefix(ext, "chunk-signature=")
		if !ok {
			return false, fail(ChunkMalformed, "")
		}
		c.sig = sig
		c.sum.Reset()
	}
	c.left, c.open = n, true
	if n > 0 {
		return false, nil
	}
	c.open = false
	return true, c.checkChunk()
}

func (c *chunkReader) endChunk() error {
	c.open = false
	if l, err := c.line(2); err != nil || l != "" {
		if err == nil {
			err = fail(ChunkMalformed, "")
		}
		return err
	}
	return c.checkChunk()
}

// checkChunk verifies the present chunk's signature, which chains to the one
// before.
func (c *chunkReader) checkChunk() error {
	if !c.signed {
		return nil
	}
	s := Algorithm + "-PAYLOAD\n" + c.v.Date.Format(timeLayout) + "\n" + c.v.scope + "\n" + c.previous + "\n" + emptySHA256 + "\n" + hex.EncodeToString(c.sum.Sum(nil))
	want := hex.EncodeToString(mac(c.v.signingKey, s))
	if subtle.ConstantTimeCompare([]byte(want), []byte(c.sig)) != 1 {
		return fail(ChunkMismatch, "")
	}
	c.previous = c.sig
	return nil
}

// finish reads the trailers, checks lengths and checksum and returns io.EOF.
func (c *chunkReader) finish() error {
	if c.total != c.want {
		return fail(LengthMismatch, "")
	}
	var given, signature string
	var canonical bytes.Buffer
	for read := 0; ; {
		l, err := c.line(maxChunkHeader)
		if err != nil {
			// Some clients leave out the empty line after the last chunk.
			if !c.trailer && errors.Is(err, io.ErrUnexpectedEOF) {
				break
			}
			return err
		}
		if l == "" {
			break
		}
		if read += len(l); !c.trailer || read > maxTrailer {
			return fail(ChunkMalformed, "")
		}
		k, v, ok := strings.Cut(l, ":")
		k, v = strings.ToLower(strings.TrimSpace(k)), strings.TrimSpace(v)
		switch {
		case !ok:
			return fail(ChunkMalformed, "")
		case k == "x-amz-trailer-signature":
			signature = v
		default:
			canonical.WriteString(k + ":" + v + "\n")
			if k == c.name {
				given = v
			}
		}
	}
	if c.signed && c.trailer {
		sum := sha256.Sum256(canonical.Bytes())
		s := Algorithm + "-TRAILER\n" + c.v.Date.Format(timeLayout) + "\n" + c.v.scope + "\n" + c.previous + "\n" + hex.EncodeToString(sum[:])
		if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(mac(c.v.signingKey, s))), []byte(signature)) != 1 {
			return fail(ChunkMismatch, "")
		}
	}
	if c.checksum != nil && given != base64.StdEncoding.EncodeToString(c.checksum.Sum(nil)) {
		return fail(ChecksumMismatch, strings.ToUpper(strings.TrimPrefix(c.name, "x-amz-checksum-")))
	}
	return io.EOF
}

// DecodedLength is the length of an aws-chunked body without its framing, -1
// when the client did not announce it.
func (v *Verified) DecodedLength(r *http.Request) int64 {
	n, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
