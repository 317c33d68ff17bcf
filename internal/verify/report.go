package verify

import (
	"fmt"
	"io"
	"sort"
	"strings"
)

// Kind says what was found.
type Kind string

const (
	DigestMissing     Kind = "digest-missing"      // a digest that another one links to or counts is not there
	DigestInvalid     Kind = "digest-invalid"      // not a digest file any more, or another trail's
	DigestMoved       Kind = "digest-moved"        // a digest that lies elsewhere than it says
	DigestSignature   Kind = "digest-signature"    // signature missing or wrong, or key unknown or expired
	DigestMetadata    Kind = "digest-metadata"     // a digest's signature is not with it
	DigestChain       Kind = "digest-chain"        // the link between two digests does not hold
	RecordGap         Kind = "record-gap"          // sequence numbers that no file covers
	FileMissing       Kind = "file-missing"        // a listed log file is not there
	FileAltered       Kind = "file-altered"        // its content is another
	FileTruncated     Kind = "file-truncated"      // it ends early or is no gzip file
	FileUnlisted      Kind = "file-unlisted"       // a log file that no digest lists
	FileMetadata      Kind = "file-metadata"       // its metadata contradicts its digest
	DuplicateEvent    Kind = "duplicate-event"     // an event that is there twice
	TailTruncated     Kind = "tail-truncated"      // the newest files are not there
	RegionMissing     Kind = "region-missing"      // all digests of a region are gone
	TreeMismatch      Kind = "tree-mismatch"       // the Merkle tree is not the one that was signed
	CheckpointInvalid Kind = "checkpoint-invalid"  // a digest's checkpoint is not signed by its key
	TilesInvalid      Kind = "tiles-invalid"       // the tiles outside the bucket are not those of a checkpoint
	RetentionMissing  Kind = "retention-missing"   // a file of a WORM trail is not locked
	RetentionShort    Kind = "retention-shortened" // it is locked for less than it was, or in a weaker mode
	JournalGap        Kind = "journal-gap"         // undelivered records are missing from the journal
)

// Finding is one deviation.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Region string `json:"region,omitempty"`
	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key,omitempty"`
	// FirstSeq and LastSeq are the records concerned, by their numbers in
	// account and region; 0 when not known.
	FirstSeq uint64 `json:"firstSequence,omitempty"`
	LastSeq  uint64 `json:"lastSequence,omitempty"`
	EventID  string `json:"eventId,omitempty"`
	Detail   string `json:"detail"`
}

// RegionReport counts what was checked in a region.
type RegionReport struct {
	Region  string `json:"region"`
	Digests int    `json:"digests"`
	Files   int    `json:"logFiles"`
	Records int    `json:"records"`
	Bytes   int64  `json:"bytes"` // of log files, uncompressed
	// FirstSeq and LastSeq bound the record numbers that sound digests cover.
	FirstSeq uint64 `json:"firstSequence,omitempty"`
	LastSeq  uint64 `json:"lastSequence,omitempty"`
	// Pending are log files newer than the newest digest: not yet provable.
	Pending      int    `json:"pendingFiles"`
	Foreign      int    `json:"otherTrailsFiles,omitempty"`
	NewestDigest string `json:"newestDigest,omitempty"`
	// Locked is how many files have the retention that they were given.
	Locked int `json:"lockedFiles,omitempty"`
	// TreeSize is how many records the Merkle tree has, Checkpoint its newest
	// checkpoint in a digest, CheckpointKey who signed it.
	TreeSize      uint64 `json:"treeSize,omitempty"`
	Checkpoint    string `json:"checkpoint,omitempty"`
	CheckpointKey string `json:"checkpointKey,omitempty"`
	// TilesSize is how many records the tiles outside the bucket are of.
	TilesSize uint64 `json:"tilesSize,omitempty"`
}

// Report is a run's result.
type Report struct {
	TrailARN string          `json:"trailArn"`
	Bucket   string          `json:"bucket"`
	Prefix   string          `json:"prefix,omitempty"`
	Clean    bool            `json:"clean"`
	Anchored bool            `json:"anchored"`
	Regions  []*RegionReport `json:"regions"`
	Findings []Finding       `json:"findings"`
	// Unproven says what could not be checked; with no finding the result is
	// neither clean nor tampered.
	Unproven []string `json:"unproven,omitempty"`
	// Notes say what is not for this source to check.
	Notes []string `json:"notes,omitempty"`
}

// Exit codes of `spoor verify`.
const (
	ExitClean    = 0
	ExitFindings = 1
	ExitUnknown  = 2
)

// ExitCode is the process's exit code for the report.
func (r *Report) ExitCode() int {
	switch {
	case len(r.Findings) > 0:
		return ExitFindings
	case len(r.Unproven) > 0:
		return ExitUnknown
	}
	return ExitClean
}

func (r *Report) finish() {
	sort.SliceStable(r.Findings, func(i, j int) bool {
		a, b := &r.Findings[i], &r.Findings[j]
		if a.Region != b.Region {
			return a.Region < b.Region
		}
		if a.Key != b.Key {
			return a.Key < b.Key
		}
		return a.Kind < b.Kind
	})
	r.Clean = r.ExitCode() == ExitClean
}

// WriteText prints the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Trail   %s\nBucket  %s\n", r.TrailARN, r.Bucket)
	for _, x := range r.Regions {
		fmt.Fprintf(&b, "%-14s %d digests, %d log files, %d records", x.Region, x.Digests, x.Files, x.Records)
		if x.LastSeq > 0 {
			fmt.Fprintf(&b, ", numbers %d to %d", x.FirstSeq, x.LastSeq)
		}
		if x.TreeSize > 0 {
			fmt.Fprintf(&b, ", %d in the Merkle tree", x.TreeSize)
		}
		if x.TilesSize > 0 {
			fmt.Fprintf(&b, ", %d in the tiles", x.TilesSize)
		}
		if x.Locked > 0 {
			fmt.Fprintf(&b, "; %d files are locked as they were", x.Locked)
		}
		if x.Pending > 0 {
			fmt.Fprintf(&b, "; %d files wait for their digest", x.Pending)
		}
		if x.Foreign > 0 {
			fmt.Fprintf(&b, "; %d files are of other trails", x.Foreign)
		}
		b.WriteByte('\n')
	}
	if len(r.Regions) > 0 && r.Regions[0].CheckpointKey != "" {
		fmt.Fprintf(&b, "Key     %s (signs the checkpoints)\n", r.Regions[0].CheckpointKey)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "FOUND   %s", f.Kind)
		if f.Region != "" {
			fmt.Fprintf(&b, " in %s", f.Region)
		}
		fmt.Fprintf(&b, ": %s", f.Detail)
		if f.LastSeq > 0 {
			fmt.Fprintf(&b, " (records %d to %d)", f.FirstSeq, f.LastSeq)
		}
		if f.EventID != "" {
			fmt.Fprintf(&b, " (event %s)", f.EventID)
		}
		if f.Key != "" {
			fmt.Fprintf(&b, "\n        %s", f.Key)
		}
		b.WriteByte('\n')
	}
	for _, u := range r.Unproven {
		fmt.Fprintf(&b, "UNKNOWN %s\n", u)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "NOTE    %s\n", n)
	}
	if !r.Anchored {
		b.WriteString("NOTE    without --data, a trail status or a checkpoint nothing says that the newest files are all there\n")
	}
	switch r.ExitCode() {
	case ExitClean:
		b.WriteString("Clean: every check passed.\n")
	case ExitFindings:
		fmt.Fprintf(&b, "%d findings.\n", len(r.Findings))
	default:
		b.WriteString("Not everything could be checked.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
