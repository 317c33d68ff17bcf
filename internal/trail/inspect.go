package trail

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"spoor/internal/digest"
	"spoor/internal/kv"
)

// Delivered is what a store says that a trail has delivered in a region: what
// a bucket must hold, or it was tampered with.
type Delivered struct {
	Region string
	// Digest is the newest delivered digest, nil before the first.
	Digest     *digest.Link
	DigestTime time.Time
	DigestLast uint64 // the last record that Digest accounts for
	Checkpoint string // of Digest
	// Files are the log files delivered since the last digest was made, Waiting
	// the names of files that are planned and not known to be delivered.
	Files   []DeliveredFile
	Waiting []string
	// Covered is the last number of the account and region that is in a planned
	// file, Cursor the journal's number up to where that goes.
	Covered, Cursor uint64
	// Following is true when every record behind Covered is still to be looked
	// at by the trail; Rebased that it logs again and what it passed over before
	// is not known yet: the first record behind Cursor is where it goes on.
	Following, Rebased bool
}

// DeliveredFile is a log file that no digest lists yet.
type DeliveredFile struct {
	Bucket, Key, Hash, Stored string
	First, Last               uint64
	Lock                      *Lock
}

// Read returns a trail from a store that no server has open, or nil.
func Read(store *kv.Store, arn string) (*State, error) {
	region, account, name, err := digest.TrailName(arn)
	if err != nil {
		return nil, err
	}
	t := &State{}
	found, err := store.GetRow(trailKey(account, region, name), t, &t.Version, formatVersion)
	if err != nil || !found {
		return nil, err
	}
	return t, nil
}

// ReadAll returns all trails from a store that no server has open.
func ReadAll(store *kv.Store) ([]*State, error) {
	var out []*State
	err := store.Scan(trailPrefix(), func(_, v []byte) (bool, error) {
		t := &State{}
		if err := kv.DecodeRow(v, t, &t.Version, formatVersion); err != nil {
			return false, err
		}
		out = append(out, t)
		return true, nil
	})
	return out, err
}

// ReadPublicKeys returns a region's public keys from a store, the oldest first.
func ReadPublicKeys(store *kv.Store, region string) ([]PublicKey, error) {
	return publicKeys(store, region)
}

// ReadDelivered returns the delivery state of a trail in each region.
func ReadDelivered(store *kv.Store, arn string) ([]Delivered, error) {
	home, _, _, err := digest.TrailName(arn)
	if err != nil {
		return nil, err
	}
	var run runState
	if _, err := store.GetRow(runKey(arn), &run, &run.Version, formatVersion); err != nil {
		return nil, err
	}
	set, pending := run.Settings, false
	if err := store.Scan(changePrefix(arn), func(_, v []byte) (bool, error) {
		var c change
		pending = true
		err := kv.DecodeRow(v, &c, &c.Version, formatVersion)
		set = c.Settings
		return err == nil, err
	}); err != nil {
		return nil, fmt.Errorf("reading a trail's changes: %w", err)
	}
	var out []Delivered
	prefix := streamPrefix(arn)
	err = store.Scan(prefix, func(k, v []byte) (bool, error) {
		region, _, ok := kv.DecodeString(k[len(prefix):])
		if !ok {
			return false, fmt.Errorf("the key %q is damaged", k)
		}
		var s streamState
		if err := kv.DecodeRow(v, &s, &s.Version, formatVersion); err != nil {
			return false, err
		}
		out = append(out, Delivered{Region: region, Digest: s.DeliveredDigest, DigestTime: s.LatestDigestDelivery, DigestLast: s.DeliveredLast, Checkpoint: s.DeliveredCheckpoint, Covered: s.Covered, Cursor: s.Cursor,
			Following: set.Logging && (region == home || set.MultiRegion), Rebased: s.Rebase || pending})
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the delivery state: %w", err)
	}
	for i := range out {
		if err := out[i].readFiles(store, arn); err != nil {
			return nil, fmt.Errorf("reading the delivery state of %s: %w", out[i].Region, err)
		}
	}
	return out, nil
}

func (d *Delivered) readFiles(store *kv.Store, arn string) error {
	err := store.Scan(listedPrefix(arn, d.Region), func(_, v []byte) (bool, error) {
		var p plan
		if err := kv.DecodeRow(v, &p, &p.Version, formatVersion); err != nil {
			return false, err
		}
		d.Files = append(d.Files, DeliveredFile{Bucket: p.Bucket, Key: p.Key, Hash: p.Hash, Stored: p.Stored, First: p.First, Last: p.Last, Lock: p.Lock})
		return true, nil
	})
	if err != nil {
		return err
	}
	return store.Scan(filePrefix(arn, d.Region), func(_, v []byte) (bool, error) {
		p, body, err := splitRow(v)
		if err != nil {
			return false, err
		}
		if len(body) == 0 || strings.TrimSpace(p.Key) == "" {
			return false, fmt.Errorf("a planned file is damaged")
		}
		d.Waiting = append(d.Waiting, p.Key)
		if p.Digest { // the log files that it lists are no longer noted elsewhere
			return true, d.readDigest(body)
		}
		return true, nil
	})
}

// readDigest adds the log files of a planned digest.
func (d *Delivered) readDigest(body []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("a planned digest is damaged: %w", err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		return fmt.Errorf("a planned digest is damaged: %w", err)
	}
	x, err := digest.Parse(plain)
	if err != nil {
		return fmt.Errorf("a planned digest is damaged: %w", err)
	}
	for i := range x.LogFiles {
		f := &x.LogFiles[i]
		d.Files = append(d.Files, DeliveredFile{Bucket: f.Bucket, Key: f.Object, Hash: f.Hash, Stored: f.Records.Stored, First: f.Records.First, Last: f.Records.Last, Lock: f.Records.Lock})
	}
	return nil
}
