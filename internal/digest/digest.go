// Package digest is the digest file: the signed list of the log files that a
// trail delivered in a period, chained to the digest before it.
//
// It is pure: no clock, no store, no network. Delivery builds and signs with
// it, the verifier parses and checks with it, and the crash tests use it as
// their oracle. The format is that of the CloudTrail user guide, "CloudTrail
// digest file structure" and "Custom implementations of CloudTrail log file
// integrity validation", with one more member, Extension, which AWS's own
// validator passes over and which the signature covers like the rest.
package digest

import (
	"bytes"
	"crypto"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"spoor/internal/tree"
)

// Names that the format fixes.
const (
	SignatureAlgorithm = "SHA256withRSA"
	HashAlgorithm      = "SHA-256"
	// TimeLayout is the layout of every time in a digest: UTC, whole seconds.
	TimeLayout = "2006-01-02T15:04:05Z"
	// MetaSignature and MetaAlgorithm are the object's user metadata that carry
	// the signature ("x-amz-meta-" left out).
	MetaSignature = "signature"
	MetaAlgorithm = "signature-algorithm"
	// MetaFirstSeq and MetaLastSeq are the user metadata of a log file that say
	// which sequence numbers of its account and region it covers.
	MetaFirstSeq = "spoor-first-seq"
	MetaLastSeq  = "spoor-last-seq"
	// MetaTrail names the trail of a log file; the file's name does not, and
	// trails may share a bucket.
	MetaTrail = "spoor-trail-arn"
	// KeyBits is the size of a signing key.
	KeyBits = 2048
)

// Limits on a digest that is read. A trail that closes a file every second
// makes 86,400 in the longest digest interval.
const (
	MaxBytes    = 128 << 20 // uncompressed
	MaxLogFiles = 200_000
	// MaxSummed is the largest number of log files in a digest that gives their
	// subtrees, of up to 2 KB a file.
	MaxSummed = 20_000
)

// ErrFormat is wrapped by Parse's errors: the bytes are not a digest file.
var ErrFormat = errors.New("digest: not a digest file")

// Digest is one digest file.
type Digest struct {
	AccountID            string     `json:"awsAccountId"`
	StartTime            string     `json:"digestStartTime"`
	EndTime              string     `json:"digestEndTime"`
	Bucket               string     `json:"digestS3Bucket"`
	Object               string     `json:"digestS3Object"`
	PublicKeyFingerprint string     `json:"digestPublicKeyFingerprint"`
	SignatureAlgorithm   string     `json:"digestSignatureAlgorithm"`
	NewestEventTime      *string    `json:"newestEventTime"`
	OldestEventTime      *string    `json:"oldestEventTime"`
	PreviousBucket       *string    `json:"previousDigestS3Bucket"`
	PreviousObject       *string    `json:"previousDigestS3Object"`
	PreviousHash         *string    `json:"previousDigestHashValue"`
	PreviousHashAlg      *string    `json:"previousDigestHashAlgorithm"`
	PreviousSignature    *string    `json:"previousDigestSignature"`
	LogFiles             []LogFile  `json:"logFiles"`
	Extension            *Extension `json:"spoor,omitempty"`
}

// LogFile is a log file in a digest.
type LogFile struct {
	Bucket          string  `json:"s3Bucket"`
	Object          string  `json:"s3Object"`
	Hash            string  `json:"hashValue"` // of the uncompressed file
	HashAlgorithm   string  `json:"hashAlgorithm"`
	NewestEventTime *string `json:"newestEventTime"`
	OldestEventTime *string `json:"oldestEventTime"`
	Records         *Range  `json:"spoor,omitempty"`
}

// Range is what a log file covers: every record with a sequence number of its
// account and region in [First, Last] that the trail selects, Count of them.
type Range struct {
	First uint64 `json:"firstSequence"`
	Last  uint64 `json:"lastSequence"`
	Count int    `json:"records"`
	// Skipped, when not 0, says that the records [Skipped, First) were made
	// while the trail did not log; no file has them.
	Skipped uint64 `json:"notLoggedFrom,omitempty"`
	// Stored is the SHA-256 of the object as it is stored, compressed. AWS's
	// hash is of the content, which a changed gzip header leaves as it was.
	Stored string `json:"storedHashValue,omitempty"`
	// Tree is where the file's records are in the trail's Merkle tree.
	Tree *Leaves `json:"tree,omitempty"`
	// Lock is what the object was locked with when it was delivered; nil for
	// nothing.
	Lock *Lock `json:"objectLock,omitempty"`
}

// Leaves are a log file's records as leaves of the trail's Merkle tree.
type Leaves struct {
	First uint64 `json:"firstLeaf"` // index of its first record
	// Sums are the hashes of the complete subtrees that the records make, as
	// tree.Blocks splits them; empty in a digest of very many files, where the
	// file itself has to be read for them.
	Sums []tree.Hash `json:"subtrees,omitempty"`
	// Before is the tree's frontier before the file, when it does not continue
	// where the file before it ends: what lies between was given up.
	Before []tree.Hash `json:"before,omitempty"`
}

// Tree is the trail's Merkle tree of the region over a digest's log files.
type Tree struct {
	// Before is the tree as it was before them.
	Before tree.Frontier `json:"before"`
	// Checkpoint is the signed tree after them, Key who signed it.
	Checkpoint string `json:"checkpoint"`
	Key        string `json:"checkpointKey"`
	// Announced are the announcements of the keys that have followed each other
	// so far, the oldest first (tree.Announcement).
	Announced []string `json:"checkpointKeyAnnouncements,omitempty"`
}

// Begin is the first sequence number that the file accounts for.
func (r *Range) Begin() uint64 {
	if r.Skipped != 0 {
		return r.Skipped
	}
	return r.First
}

// ExtensionVersion is the version of Extension that this build writes.
const ExtensionVersion = 1

// Extension is what a digest says beyond AWS's format.
type Extension struct {
	Version  int    `json:"version"`
	TrailARN string `json:"trailArn"`
	// Number counts a trail's digests in a region from 1 without gaps, over
	// stops and restarts.
	Number uint64 `json:"digestNumber"`
	// First and Last are the sequence numbers that the digest's log files
	// account for together; Last = First-1 when there are none. The next digest
	// continues at Last+1. Only a starting digest may begin later: what was
	// delivered while log file validation was off is in no digest.
	First uint64 `json:"firstSequence"`
	Last  uint64 `json:"lastSequence"`
	// Prior is the last digest before a starting one, which AWS's own link
	// leaves out: it ties the chain that ended to the one that begins.
	Prior *Link `json:"priorDigest,omitempty"`
	// Final says that logging stopped and the chain ends here.
	Final bool `json:"final,omitempty"`
	// Regions are those that the trail has digests for, so that a region's
	// digests cannot vanish as a whole unnoticed.
	Regions []string `json:"regions"`
	Tree    *Tree    `json:"tree,omitempty"`
	// Retention is for how long the digest is locked, at least from its end on;
	// nil when it is not.
	Retention *Retention `json:"objectLockRetention,omitempty"`
}

// Link names a digest and fixes its content.
type Link struct {
	Bucket    string `json:"s3Bucket"`
	Object    string `json:"s3Object"`
	Hash      string `json:"hashValue"`
	Signature string `json:"signature"`
}

// SetPrevious links d to the digest before it; nil makes a starting digest.
func (d *Digest) SetPrevious(l *Link) {
	if l == nil {
		d.PreviousBucket, d.PreviousObject, d.PreviousHash, d.PreviousHashAlg, d.PreviousSignature = nil, nil, nil, nil, nil
		return
	}
	alg := HashAlgorithm
	p := *l
	d.PreviousBucket, d.PreviousObject, d.PreviousHash, d.PreviousHashAlg, d.PreviousSignature = &p.Bucket, &p.Object, &p.Hash, &alg, &p.Signature
}

// Previous is the link to the digest before d, or nil for a starting digest.
func (d *Digest) Previous() *Link {
	if d.PreviousObject == nil || d.PreviousBucket == nil {
		return nil
	}
	l := &Link{Bucket: *d.PreviousBucket, Object: *d.PreviousObject}
	if d.PreviousHash != nil {
		l.Hash = *d.PreviousHash
	}
	if d.PreviousSignature != nil {
		l.Signature = *d.PreviousSignature
	}
	return l
}

// Encode gives the digest's bytes, which hash and signature are made from. The
// times newest and oldest are taken from the log files.
func (d *Digest) Encode() ([]byte, error) {
	d.NewestEventTime, d.OldestEventTime = nil, nil
	if d.LogFiles == nil {
		d.LogFiles = []LogFile{} // AWS's validator needs the member
	}
	for i := range d.LogFiles {
		f := &d.LogFiles[i]
		// The layout orders as the time does.
		if f.NewestEventTime != nil && (d.NewestEventTime == nil || *f.NewestEventTime > *d.NewestEventTime) {
			d.NewestEventTime = f.NewestEventTime
		}
		if f.OldestEventTime != nil && (d.OldestEventTime == nil || *f.OldestEventTime < *d.OldestEventTime) {
			d.OldestEventTime = f.OldestEventTime
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("encoding a digest: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Parse reads a digest's uncompressed bytes. Unknown members are passed over,
// as the format asks; what is checked is what every reader relies on.
func Parse(b []byte) (*Digest, error) {
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrFormat, len(b), MaxBytes)
	}
	var d Digest
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the object", ErrFormat)
	}
	switch {
	case d.Bucket == "" || d.Object == "" || d.PublicKeyFingerprint == "":
		return nil, fmt.Errorf("%w: digestS3Bucket, digestS3Object or digestPublicKeyFingerprint is missing", ErrFormat)
	case d.LogFiles == nil:
		return nil, fmt.Errorf("%w: logFiles is missing", ErrFormat)
	case len(d.LogFiles) > MaxLogFiles:
		return nil, fmt.Errorf("%w: %d log files, more than %d", ErrFormat, len(d.LogFiles), MaxLogFiles)
	}
	if _, err := time.Parse(TimeLayout, d.StartTime); err != nil {
		return nil, fmt.Errorf("%w: digestStartTime: %w", ErrFormat, err)
	}
	if _, err := time.Parse(TimeLayout, d.EndTime); err != nil {
		return nil, fmt.Errorf("%w: digestEndTime: %w", ErrFormat, err)
	}
	if (d.PreviousObject == nil) != (d.PreviousSignature == nil) || (d.PreviousObject == nil) != (d.PreviousBucket == nil) ||
		(d.PreviousObject == nil) != (d.PreviousHash == nil) {
		return nil, fmt.Errorf("%w: the link to the previous digest is incomplete", ErrFormat)
	}
	return &d, nil
}

// Hash is the form in which digests give a file's SHA-256.
func Hash(plain []byte) string {
	sum := sha256.Sum256(plain)
	return hex.EncodeToString(sum[:])
}

// StringToSign is what a digest's signature is made over.
func (d *Digest) StringToSign(hash string) string {
	previous := "null"
	if d.PreviousSignature != nil {
		previous = *d.PreviousSignature
	}
	return d.EndTime + "\n" + d.Bucket + "/" + d.Object + "\n" + hash + "\n" + previous
}

// Sign gives the signature of the digest whose bytes are plain, in hex.
func (d *Digest) Sign(key *rsa.PrivateKey, plain []byte) (string, error) {
	sum := sha256.Sum256([]byte(d.StringToSign(Hash(plain))))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("signing a digest: %w", err)
	}
	return hex.EncodeToString(sig), nil
}

// Verify checks a signature in hex. hash is that of the digest's bytes as they
// were read, not of a new encoding.
func (d *Digest) Verify(key *rsa.PublicKey, hash, signature string) error {
	sig, err := hex.DecodeString(signature)
	if err != nil {
		return fmt.Errorf("the signature is not hexadecimal: %w", err)
	}
	sum := sha256.Sum256([]byte(d.StringToSign(hash)))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig); err != nil {
		return fmt.Errorf("the signature does not match: %w", err)
	}
	return nil
}

// Fingerprint names a public key, given in PKCS #1 DER: 32 hexadecimal digits,
// as AWS's are. It identifies, it does not protect; the key does.
func Fingerprint(pkcs1 []byte) string {
	sum := md5.Sum(pkcs1)
	return hex.EncodeToString(sum[:])
}

// EncodePublicKey gives a public key as ListPublicKeys does: PKCS #1 DER.
func EncodePublicKey(key *rsa.PublicKey) []byte { return x509.MarshalPKCS1PublicKey(key) }

// ParsePublicKey reads a public key in PKCS #1 DER, or base64 of it.
func ParsePublicKey(b []byte) (*rsa.PublicKey, error) {
	if key, err := x509.ParsePKCS1PublicKey(b); err == nil {
		return key, nil
	}
	der, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil {
		return nil, errors.New("the public key is neither PKCS #1 DER nor base64 of it")
	}
	key, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	return key, nil
}
