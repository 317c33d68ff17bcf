package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"spoor/internal/digest"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// FromStore reads from a server's store what Config needs beside the source:
// bucket and prefix, public keys, anchors. It also returns what is wrong with
// the records that are not delivered yet. No server may have the store open.
func FromStore(store *kv.Store, arn string) (Config, []Finding, error) {
	c := Config{TrailARN: arn, Keys: map[string][]PublicKey{}, Anchors: map[string]Anchor{}}
	t, err := trail.Read(store, arn)
	if err != nil {
		return c, nil, fmt.Errorf("reading the trail: %w", err)
	}
	if t != nil {
		c.Bucket, c.Prefix = t.Settings.Bucket, t.Settings.Prefix
	}
	state, err := trail.ReadDelivered(store, arn)
	if err != nil {
		return c, nil, err
	}
	others, err := trail.ReadAll(store)
	if err != nil {
		return c, nil, fmt.Errorf("reading the trails: %w", err)
	}
	for _, o := range others {
		if o.ARN() != arn {
			c.OtherTrails = append(c.OtherTrails, o.ARN())
		}
	}
	var findings []Finding
	_, account, _, err := digest.TrailName(arn)
	if err != nil {
		return c, nil, err
	}
	if c.CheckpointKeys, err = trail.ReadCheckpointKeys(store, account); err != nil {
		return c, nil, err
	}
	c.AllCheckpointKeys = true
	for i := range state {
		s := &state[i]
		keys, err := trail.ReadPublicKeys(store, s.Region)
		if err != nil {
			return c, nil, err
		}
		for _, k := range keys {
			c.Keys[s.Region] = append(c.Keys[s.Region], PublicKey{Fingerprint: k.Fingerprint, Value: k.Value, Start: k.Start, End: k.End})
		}
		if t == nil && s.Digest != nil { // a deleted trail
			c.Bucket = s.Digest.Bucket
			prefix, _, _ := strings.Cut(s.Digest.Object, "AWSLogs/")
			c.Prefix = strings.TrimSuffix(prefix, "/")
		}
		a := Anchor{Digest: s.Digest, Time: s.DigestTime, Last: s.DigestLast, Complete: true, Waiting: s.Waiting}
		for _, f := range s.Files {
			a.Files = append(a.Files, AnchorFile(f))
		}
		c.Anchors[s.Region] = a
		if s.Checkpoint != "" {
			c.Checkpoints = append(c.Checkpoints, s.Checkpoint)
		}
		found, err := undelivered(store, arn, s)
		if err != nil {
			return c, nil, err
		}
		findings = append(findings, found...)
	}
	if t == nil && len(state) == 0 {
		return c, nil, fmt.Errorf("the server knows no trail %s", arn)
	}
	return c, findings, nil
}

// undelivered checks that every record that a trail has still to look at is in
// the journal, by the numbers of its account and region. Behind the last
// planned file that is all of them; a trail that has just begun has looked at
// none, and they are numbered from the first one on that is there.
func undelivered(store *kv.Store, arn string, s *trail.Delivered) ([]Finding, error) {
	from, next := s.Cursor, s.Covered+1
	if !s.Following {
		v, err := store.Get(kv.Key(kv.SpaceCursor, trail.CursorName(arn)))
		if errors.Is(err, kv.ErrNotFound) {
			return nil, nil // nothing keeps the journal for this trail
		}
		if err == nil && len(v) != 8 {
			err = record.ErrDamaged
		}
		if err != nil {
			return nil, fmt.Errorf("reading the trail's place in the journal: %w", err)
		}
		from, next = binary.BigEndian.Uint64(v), 0
	}
	_, account, _, err := digest.TrailName(arn)
	if err != nil {
		return nil, err
	}
	last, err := streamEnd(store, account, s.Region)
	if err != nil {
		return nil, err
	}
	var out []Finding
	gap := func(from, to uint64) {
		out = append(out, Finding{Kind: JournalGap, Region: s.Region, FirstSeq: from, LastSeq: to, Detail: "records that are not delivered yet are missing from the journal"})
	}
	if s.Rebased {
		next = 0
	}
	look := func(it journal.Item) (bool, error) {
		if it.Field(record.FieldRegion) != s.Region || it.Field(record.FieldAccount) != account {
			return true, nil
		}
		if next != 0 && it.StreamSeq > next {
			gap(next, it.StreamSeq-1)
		}
		next = it.StreamSeq + 1
		return true, nil
	}
	for {
		err = journal.Read(store, from, ^uint64(0)-1, look)
		var lost *journal.GapError
		if !errors.As(err, &lost) {
			break
		}
		from = lost.Last // the numbers say whose records are lost
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	if next != 0 && next <= last {
		gap(next, last)
	}
	return out, nil
}

func streamEnd(store *kv.Store, account, region string) (uint64, error) {
	v, err := store.Get(kv.Key(kv.SpaceStream, account, region))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading a stream's last number: %w", err)
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("the last number of stream %s/%s is damaged", account, region)
	}
	return binary.BigEndian.Uint64(v), nil
}

// Add puts findings that were made elsewhere into a report.
func (r *Report) Add(found ...Finding) {
	r.Findings = append(r.Findings, found...)
	r.finish()
}
