package tamper

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"spoor/internal/digest"
	"spoor/internal/tree"
	"spoor/internal/verify"
)

// tampering is one way to change a trail's files.
type tampering struct {
	// name says what was done, as the table in docs/SECURITY.md does.
	name string
	// do changes f, a copy of w's files. cfg is what the verifier is given.
	do func(w *world, f files, cfg *verify.Config)
	// want is every finding, as short makes it of them.
	want []string
	// noCLI is true for what `aws cloudtrail validate-logs` cannot be shown.
	noCLI bool
	// afterwards is true for what concerns only files newer than the newest
	// checkpoint: nothing but the server's own state tells of it.
	afterwards bool
}

// stranger is a key that the server never had.
var stranger = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, digest.KeyBits)
	if err != nil {
		panic(err)
	}
	return k
})

func last(list []string) string { return list[len(list)-1] }

// plantedKey is a log file's name that nobody delivered, in the second hour.
func plantedKey(w *world, unique string) string {
	p := digest.Place{Account: account, Region: home}
	minute, _ := p.ParseLogKey(w.logs[home][4])
	return p.LogKey(minute, unique)
}

// own is the key that signed a digest.
func (w *world) own(d *digest.Digest) *rsa.PrivateKey { return w.keys[d.PublicKeyFingerprint] }

// edit changes a digest and signs it again, as one who has the key can.
func edit(w *world, f files, key string, change func(d *digest.Digest)) {
	d := f.digest(key)
	change(d)
	f.sign(key, d, w.own(d))
}

// forge changes a digest and leaves its signature, as one without a key must.
func forge(f files, key string, change func(d *digest.Digest)) {
	f.plain(key, func(b []byte) []byte {
		d, err := digest.Parse(b)
		if err != nil {
			panic(err)
		}
		change(d)
		if b, err = d.Encode(); err != nil {
			panic(err)
		}
		return b
	})
}

// hour removes a digest and its log files.
func (f files) hour(key string) {
	f.remove(f.listed(key)...)
	f.remove(key)
}

// tree removes everything of a region below a directory of the account's.
func (f files) tree(dir, region string) {
	for k := range f {
		if strings.HasPrefix(k, "AWSLogs/"+account+"/"+dir+"/"+region+"/") {
			delete(f, k)
		}
	}
}

// Index 4 of a region's log files is the second of the second hour: records 21
// to 24 in the home region, 17 to 20 in the other.
const mid = 4

var tamperings = slices.Concat(ofBytes, ofRecords, ofLogs, ofDigests, ofSignatures)

var ofBytes = []tampering{
	{name: "one byte of a log file's record", do: func(w *world, f files, _ *verify.Config) {
		f.plain(w.logs[home][mid], func(b []byte) []byte { return bytes.Replace(b, []byte("ListWorkGroups"), []byte("ListWorkGroupz"), 1) })
	}, want: []string{"file-altered: us-east-1 log 4 records 21-21"}},
	{name: "one bit of a log file's compressed data", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "the gzip header of a log file (its magic)", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func(b []byte) []byte { b[0]++; return b })
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "the gzip header of a log file (its time, content untouched)", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func(b []byte) []byte { b[4]++; return b })
	}, want: []string{"file-altered: us-east-1 log 4 records 21-24"}},
	{name: "the checksum in the gzip trailer of a log file", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func(b []byte) []byte { b[len(b)-8]++; return b })
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "the length in the gzip trailer of a log file", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func(b []byte) []byte { b[len(b)-1]++; return b })
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "a log file cut in the middle", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func(b []byte) []byte { return b[:len(b)/2] })
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "a log file without its gzip trailer", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func(b []byte) []byte { return b[:len(b)-8] })
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "a second gzip member with more records after a log file", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func(b []byte) []byte { return append(b, zip([]byte(`{"Records":[{"eventID":"forged"}]}`))...) })
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "garbage after a log file", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func(b []byte) []byte { return append(b, "garbage"...) })
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "a log file emptied", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], func([]byte) []byte { return nil })
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "a log file uncompressed", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.logs[home][mid], unzip)
	}, want: []string{"file-truncated: us-east-1 log 4 records 21-24"}},
	{name: "a log file's JSON indented, same records", do: func(w *world, f files, _ *verify.Config) {
		f.plain(w.logs[home][mid], func(b []byte) []byte {
			var out bytes.Buffer
			if err := json.Indent(&out, b, "", " "); err != nil {
				panic(err)
			}
			return out.Bytes()
		})
	}, want: []string{"file-altered: us-east-1 log 4 records 21-24"}},
}

var ofRecords = []tampering{
	{name: "two records of a log file swapped", do: func(w *world, f files, _ *verify.Config) {
		f.records(w.logs[home][mid], func(r []json.RawMessage) []json.RawMessage { r[1], r[2] = r[2], r[1]; return r })
	}, want: []string{"file-altered: us-east-1 log 4 records 22-23"}},
	{name: "a record of a log file twice", do: func(w *world, f files, _ *verify.Config) {
		f.records(w.logs[home][mid], func(r []json.RawMessage) []json.RawMessage { return slices.Insert(r, 1, r[0]) })
	}, want: []string{"file-altered: us-east-1 log 4 records 21-22"}},
	{name: "a record removed from a log file", do: func(w *world, f files, _ *verify.Config) {
		f.records(w.logs[home][mid], func(r []json.RawMessage) []json.RawMessage { return slices.Delete(r, 1, 2) })
	}, want: []string{"file-altered: us-east-1 log 4 records 22-22"}},
	{name: "the last record removed from a log file", do: func(w *world, f files, _ *verify.Config) {
		f.records(w.logs[home][mid], func(r []json.RawMessage) []json.RawMessage { return r[:len(r)-1] })
	}, want: []string{"file-altered: us-east-1 log 4 records 24-24"}},
	{name: "a record added to a log file", do: func(w *world, f files, _ *verify.Config) {
		f.records(w.logs[home][mid], func(r []json.RawMessage) []json.RawMessage {
			return append(r, json.RawMessage(`{"eventVersion":"1.11","eventID":"forged"}`))
		})
	}, want: []string{"file-altered: us-east-1 log 4 records 24-24"}},
	{name: "all records removed from a log file", do: func(w *world, f files, _ *verify.Config) {
		f.records(w.logs[home][mid], func([]json.RawMessage) []json.RawMessage { return nil })
	}, want: []string{"file-altered: us-east-1 log 4 records 21-24"}},
	{name: "a record moved to the next log file", do: func(w *world, f files, _ *verify.Config) {
		var moved json.RawMessage
		f.records(w.logs[home][mid], func(r []json.RawMessage) []json.RawMessage { moved = r[len(r)-1]; return r[:len(r)-1] })
		f.records(w.logs[home][mid+1], func(r []json.RawMessage) []json.RawMessage { return slices.Insert(r, 0, moved) })
	}, want: []string{"file-altered: us-east-1 log 4 records 24-24", "file-altered: us-east-1 log 5 records 25-25"}},
}

var ofLogs = []tampering{
	{name: "a log file deleted", do: func(w *world, f files, _ *verify.Config) { f.remove(w.logs[home][mid]) }, want: []string{"file-missing: us-east-1 log 4 records 21-24"}},
	{name: "adjacent log files deleted", do: func(w *world, f files, _ *verify.Config) { f.remove(w.logs[home][mid], w.logs[home][mid+1]) }, want: []string{"file-missing: us-east-1 log 4 records 21-24", "file-missing: us-east-1 log 5 records 25-28"}},
	{name: "the oldest log file deleted", do: func(w *world, f files, _ *verify.Config) { f.remove(w.logs[home][0]) }, want: []string{"file-missing: us-east-1 log 0 records 3-8"}},
	{name: "the newest log file deleted, which no digest lists yet", afterwards: true, do: func(w *world, f files, _ *verify.Config) { f.remove(w.pending[home]) }, want: []string{"file-missing: us-east-1 log after the digests records 80-82"}},
	{name: "the newest log file changed, which no digest lists yet", afterwards: true, do: func(w *world, f files, _ *verify.Config) {
		f.records(w.pending[home], func(r []json.RawMessage) []json.RawMessage { return r[1:] })
	}, want: []string{"file-altered: us-east-1 log after the digests records 80-82"}},
	{name: "a log file renamed", do: func(w *world, f files, _ *verify.Config) {
		f[plantedKey(w, "renamed000000000")] = f[w.logs[home][mid]]
		f.remove(w.logs[home][mid])
	}, want: []string{"file-missing: us-east-1 log 4 records 21-24", "file-unlisted: an added file"}},
	{name: "a log file copied under another name", do: func(w *world, f files, _ *verify.Config) {
		f[plantedKey(w, "copied0000000000")] = f[w.logs[home][mid]]
	}, want: []string{"file-unlisted: an added file"}},
	{name: "a forged log file added", do: func(w *world, f files, _ *verify.Config) {
		f[plantedKey(w, "forged0000000000")] = object{zip([]byte(`{"Records":[{"eventVersion":"1.11","eventID":"forged"}]}`)), nil}
	}, want: []string{"file-unlisted: an added file"}},
	{name: "a forged log file added that names the trail and numbers of its own", do: func(w *world, f files, _ *verify.Config) {
		f[plantedKey(w, "forged0000000000")] = object{zip([]byte(`{"Records":[{"eventVersion":"1.11","eventID":"forged"}]}`)),
			map[string]string{digest.MetaTrail: trailARN, digest.MetaFirstSeq: "22", digest.MetaLastSeq: "22"}}
	}, want: []string{"file-unlisted: an added file"}},
	{name: "a forged log file added that claims to be newer than the newest digest", afterwards: true, do: func(w *world, f files, _ *verify.Config) {
		p := digest.Place{Account: account, Region: home}
		minute, _ := p.ParseLogKey(w.pending[home])
		f[p.LogKey(minute, "forged0000000000")] = object{zip([]byte(`{"Records":[{"eventVersion":"1.11","eventID":"forged"}]}`)),
			map[string]string{digest.MetaTrail: trailARN, digest.MetaFirstSeq: "83", digest.MetaLastSeq: "83"}}
	}, want: []string{"file-unlisted: an added file"}},
	{name: "a forged log file added that claims to be another trail's", do: func(w *world, f files, _ *verify.Config) {
		f[plantedKey(w, "forged0000000000")] = object{zip([]byte(`{"Records":[{"eventVersion":"1.11","eventID":"forged"}]}`)),
			map[string]string{digest.MetaTrail: otherARN, digest.MetaFirstSeq: "22", digest.MetaLastSeq: "22"}}
	}, want: []string{"file-unlisted: an added file"}},
	{name: "a file that is no log file added", do: func(_ *world, f files, _ *verify.Config) {
		f["AWSLogs/"+account+"/CloudTrail/"+home+"/2026/notes.txt"] = object{[]byte("x"), nil}
	}, want: []string{"file-unlisted: an added file"}},
	{name: "two log files swapped", do: func(w *world, f files, _ *verify.Config) { f.swap(w.logs[home][mid], w.logs[home][mid+1]) }, want: []string{"file-altered: us-east-1 log 4 records 21-24", "file-altered: us-east-1 log 5 records 25-28"}},
	{name: "two log files of different hours swapped", do: func(w *world, f files, _ *verify.Config) { f.swap(w.logs[home][1], w.logs[home][7]) }, want: []string{"file-altered: us-east-1 log 1 records 9-12", "file-altered: us-east-1 log 7 records 33-36"}},
	{name: "two log files of different regions swapped", do: func(w *world, f files, _ *verify.Config) { f.swap(w.logs[home][mid], w.logs[abroad][mid]) }, want: []string{"file-altered: eu-west-1 log 4 records 17-20", "file-altered: us-east-1 log 4 records 21-24"}},
	{name: "another trail's log file in a log file's place", do: func(w *world, f files, _ *verify.Config) { f[w.logs[home][mid]] = f[w.foreign[mid]] }, want: []string{"file-metadata: us-east-1 log 4 records 21-24"}},
	{name: "an older log file in a newer one's place", do: func(w *world, f files, _ *verify.Config) { f[w.logs[home][mid]] = f[w.logs[home][0]] }, want: []string{"file-altered: us-east-1 log 4 records 21-24"}},
	{name: "the numbers in a log file's metadata changed", do: func(w *world, f files, _ *verify.Config) {
		f[w.logs[home][mid]].meta[digest.MetaLastSeq] = "99"
	}, want: []string{"file-metadata: us-east-1 log 4 records 21-24"}},
	{name: "a log file's metadata stripped", do: func(w *world, f files, _ *verify.Config) {
		f[w.logs[home][mid]] = object{f[w.logs[home][mid]].body, map[string]string{}}
	}, want: []string{"file-metadata: us-east-1 log 4 records 21-24"}},
	{name: "a log file's trail in its metadata changed", do: func(w *world, f files, _ *verify.Config) {
		f[w.logs[home][mid]].meta[digest.MetaTrail] = otherARN
	}, want: []string{"file-metadata: us-east-1 log 4 records 21-24"}},
	{name: "all log files of a region deleted", do: func(_ *world, f files, _ *verify.Config) { f.tree("CloudTrail", abroad) }, want: []string{"file-missing: eu-west-1 log 0 records 1-4", "file-missing: eu-west-1 log 1 records 5-8", "file-missing: eu-west-1 log 10 records 41-44", "file-missing: eu-west-1 log 11 records 45-48", "file-missing: eu-west-1 log 12 records 50-53", "file-missing: eu-west-1 log 13 records 54-57", "file-missing: eu-west-1 log 14 records 58-61", "file-missing: eu-west-1 log 15 records 62-65", "file-missing: eu-west-1 log 16 records 66-69", "file-missing: eu-west-1 log 17 records 70-73", "file-missing: eu-west-1 log 2 records 9-12", "file-missing: eu-west-1 log 3 records 13-16", "file-missing: eu-west-1 log 4 records 17-20", "file-missing: eu-west-1 log 5 records 21-24", "file-missing: eu-west-1 log 6 records 25-28", "file-missing: eu-west-1 log 7 records 29-32", "file-missing: eu-west-1 log 8 records 33-36", "file-missing: eu-west-1 log 9 records 37-40", "file-missing: eu-west-1 log after the digests records 74-76"}},
}

var ofDigests = []tampering{
	{name: "a digest deleted", do: func(w *world, f files, _ *verify.Config) { f.remove(w.digests[home][1]) }, want: []string{"digest-missing: us-east-1 digest 1 records 17-28", "file-unlisted: us-east-1 log 3", "file-unlisted: us-east-1 log 4", "file-unlisted: us-east-1 log 5"}},
	{name: "a digest deleted with its log files", do: func(w *world, f files, _ *verify.Config) { f.hour(w.digests[home][1]) }, want: []string{"digest-missing: us-east-1 digest 1 records 17-28"}},
	{name: "adjacent digests deleted", do: func(w *world, f files, _ *verify.Config) { f.remove(w.digests[home][1:3]...) }, want: []string{"digest-missing: us-east-1 digest 2 records 17-40", "file-unlisted: us-east-1 log 3", "file-unlisted: us-east-1 log 4", "file-unlisted: us-east-1 log 5", "file-unlisted: us-east-1 log 6", "file-unlisted: us-east-1 log 7", "file-unlisted: us-east-1 log 8"}},
	{name: "adjacent digests deleted with their log files", do: func(w *world, f files, _ *verify.Config) {
		f.hour(w.digests[home][1])
		f.hour(w.digests[home][2])
	}, want: []string{"digest-missing: us-east-1 digest 2 records 17-40"}},
	{name: "the oldest digest deleted", do: func(w *world, f files, _ *verify.Config) { f.remove(w.digests[home][0]) }, want: []string{"digest-missing: us-east-1 digest 0 records 1-16", "file-unlisted: us-east-1 log 0", "file-unlisted: us-east-1 log 1", "file-unlisted: us-east-1 log 2"}},
	{name: "the oldest digest deleted with its log files", do: func(w *world, f files, _ *verify.Config) { f.hour(w.digests[home][0]) }, want: []string{"digest-missing: us-east-1 digest 0 records 1-16"}},
	{name: "the newest digest deleted", do: func(w *world, f files, _ *verify.Config) { f.remove(last(w.digests[home])) }, want: []string{"file-unlisted: us-east-1 log 16", "file-unlisted: us-east-1 log 17", "file-unlisted: us-east-1 log 18", "tail-truncated: us-east-1 digest 6 records 68-79"}},
	{name: "the newest digest deleted with its log files and those after it", do: func(w *world, f files, _ *verify.Config) {
		f.hour(last(w.digests[home]))
		f.remove(w.pending[home])
	}, want: []string{"file-missing: us-east-1 log after the digests records 80-82", "tail-truncated: us-east-1 digest 6 records 68-79"}},
	{name: "the newest two digests deleted with their log files and those after them", do: func(w *world, f files, _ *verify.Config) {
		f.hour(w.digests[home][6])
		f.hour(w.digests[home][5])
		f.remove(w.pending[home])
	}, want: []string{"file-missing: us-east-1 log after the digests records 80-82", "tail-truncated: us-east-1 digest 6 records 54-79"}},
	{name: "everything before a stop of logging deleted", do: func(w *world, f files, _ *verify.Config) {
		for _, k := range w.digests[home][:5] {
			f.hour(k)
		}
	}, want: []string{"digest-missing: us-east-1 digest 4 records 1-53"}},
	{name: "everything after a stop of logging deleted", do: func(w *world, f files, _ *verify.Config) {
		for _, k := range w.digests[home][5:] {
			f.hour(k)
		}
		f.remove(w.pending[home])
	}, want: []string{"file-missing: us-east-1 log after the digests records 80-82", "tail-truncated: us-east-1 digest 6 records 54-79"}},
	{name: "the final digest before a stop deleted", do: func(w *world, f files, _ *verify.Config) { f.hour(w.digests[home][4]) }, want: []string{"digest-missing: us-east-1 digest 4 records 53-53"}},
	{name: "all digests of a region deleted", do: func(_ *world, f files, _ *verify.Config) { f.tree("CloudTrail-Digest", abroad) }, want: []string{"file-unlisted: eu-west-1 log 0", "file-unlisted: eu-west-1 log 1", "file-unlisted: eu-west-1 log 10", "file-unlisted: eu-west-1 log 11", "file-unlisted: eu-west-1 log 12", "file-unlisted: eu-west-1 log 13", "file-unlisted: eu-west-1 log 14", "file-unlisted: eu-west-1 log 15", "file-unlisted: eu-west-1 log 16", "file-unlisted: eu-west-1 log 17", "file-unlisted: eu-west-1 log 2", "file-unlisted: eu-west-1 log 3", "file-unlisted: eu-west-1 log 4", "file-unlisted: eu-west-1 log 5", "file-unlisted: eu-west-1 log 6", "file-unlisted: eu-west-1 log 7", "file-unlisted: eu-west-1 log 8", "file-unlisted: eu-west-1 log 9", "region-missing: us-east-1 digest 6", "tail-truncated: eu-west-1 digest 6 records 1-73"}},
	{name: "everything of a region deleted", do: func(_ *world, f files, _ *verify.Config) {
		f.tree("CloudTrail-Digest", abroad)
		f.tree("CloudTrail", abroad)
	}, want: []string{"file-missing: eu-west-1 log after the digests records 74-76", "region-missing: us-east-1 digest 6", "tail-truncated: eu-west-1 digest 6 records 1-73"}},
	{name: "a byte of a digest", do: func(w *world, f files, _ *verify.Config) {
		f.plain(w.digests[home][1], func(b []byte) []byte { return bytes.Replace(b, []byte(`"records":4`), []byte(`"records":5`), 1) })
	}, want: []string{"digest-signature: us-east-1 digest 1 records 17-28"}},
	{name: "a log file left out of a digest and deleted", do: func(w *world, f files, _ *verify.Config) {
		f.remove(w.logs[home][mid])
		forge(f, w.digests[home][1], func(d *digest.Digest) { d.LogFiles = slices.Delete(d.LogFiles, 1, 2) })
	}, want: []string{"digest-signature: us-east-1 digest 1 records 17-28"}},
	{name: "the range of record numbers in a digest edited", do: func(w *world, f files, _ *verify.Config) {
		forge(f, w.digests[home][1], func(d *digest.Digest) { d.LogFiles[1].Records.Last = 23 })
	}, want: []string{"digest-signature: us-east-1 digest 1 records 17-28"}},
	{name: "Spoor's part removed from a digest", do: func(w *world, f files, _ *verify.Config) {
		forge(f, w.digests[home][1], func(d *digest.Digest) { d.Extension = nil })
	}, want: []string{"digest-signature: us-east-1 digest 1 records 17-28"}},
	{name: "the trail's name in a digest changed", do: func(w *world, f files, _ *verify.Config) {
		forge(f, w.digests[home][1], func(d *digest.Digest) { d.Extension.TrailARN = otherARN })
	}, want: []string{"digest-invalid: us-east-1 digest 1 records 17-28", "digest-signature: us-east-1 digest 1"}},
	{name: "a digest cut in the middle", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.digests[home][1], func(b []byte) []byte { return b[:len(b)/2] })
	}, want: []string{"digest-invalid: us-east-1 digest 1 records 17-28", "file-unlisted: us-east-1 log 3", "file-unlisted: us-east-1 log 4", "file-unlisted: us-east-1 log 5"}},
	{name: "garbage after a digest", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.digests[home][1], func(b []byte) []byte { return append(b, "garbage"...) })
	}, want: []string{"digest-invalid: us-east-1 digest 1 records 17-28", "file-unlisted: us-east-1 log 3", "file-unlisted: us-east-1 log 4", "file-unlisted: us-east-1 log 5"}},
	{name: "a digest emptied", do: func(w *world, f files, _ *verify.Config) {
		f.body(w.digests[home][1], func([]byte) []byte { return nil })
	}, want: []string{"digest-invalid: us-east-1 digest 1 records 17-28", "file-unlisted: us-east-1 log 3", "file-unlisted: us-east-1 log 4", "file-unlisted: us-east-1 log 5"}},
	{name: "two digests of different hours swapped", do: func(w *world, f files, _ *verify.Config) { f.swap(w.digests[home][1], w.digests[home][2]) }, want: []string{"digest-moved: us-east-1 digest 1", "digest-moved: us-east-1 digest 2 records 17-40"}},
	{name: "two digests of different regions swapped", do: func(w *world, f files, _ *verify.Config) { f.swap(w.digests[home][1], w.digests[abroad][1]) }, want: []string{"digest-moved: eu-west-1 digest 1 records 13-24", "digest-moved: us-east-1 digest 1 records 17-28", "digest-signature: eu-west-1 digest 1", "digest-signature: us-east-1 digest 1", "file-unlisted: eu-west-1 log 3", "file-unlisted: eu-west-1 log 4", "file-unlisted: eu-west-1 log 5", "file-unlisted: us-east-1 log 3", "file-unlisted: us-east-1 log 4", "file-unlisted: us-east-1 log 5"}},
	{name: "an old digest replayed under the newest one's name", do: func(w *world, f files, _ *verify.Config) {
		f[last(w.digests[home])] = f[w.digests[home][1]]
	}, want: []string{"digest-moved: us-east-1 digest 6", "file-unlisted: us-east-1 log 16", "file-unlisted: us-east-1 log 17", "file-unlisted: us-east-1 log 18", "tail-truncated: us-east-1 digest 6 records 68-79"}},
	{name: "an old digest copied under a newer name", do: func(w *world, f files, _ *verify.Config) {
		f[digestKey(w, 2, time.Minute)] = f[w.digests[home][1]]
	}, want: []string{"digest-moved: an added file"}},
	{name: "a forged digest added at the end, signed with a key of the forger's", do: func(w *world, f files, _ *verify.Config) {
		d := next(w, f)
		d.PublicKeyFingerprint = digest.Fingerprint(digest.EncodePublicKey(&stranger().PublicKey))
		f.sign(d.Object, d, stranger())
	}, want: []string{"digest-signature: an added file"}},
}

// digestKey is a digest's name some time after that of another one.
func digestKey(w *world, i int, after time.Duration) string {
	p := digest.Place{Account: account, Region: home}
	end, _ := p.ParseDigestKey(w.digests[home][i], name, home)
	return p.DigestKey(name, home, end.Add(after))
}

// next is a digest that follows the newest one.
func next(w *world, f files) *digest.Digest {
	prev := f.digest(last(w.digests[home]))
	o := f[last(w.digests[home])]
	d := &digest.Digest{AccountID: account, StartTime: prev.EndTime, Bucket: bucket, SignatureAlgorithm: digest.SignatureAlgorithm,
		PublicKeyFingerprint: prev.PublicKeyFingerprint, Object: digestKey(w, 6, time.Minute),
		Extension: &digest.Extension{Version: digest.ExtensionVersion, TrailARN: trailARN, Number: prev.Extension.Number + 1,
			First: prev.Extension.Last + 1, Last: prev.Extension.Last, Regions: prev.Extension.Regions}}
	end, _ := time.Parse(digest.TimeLayout, prev.EndTime)
	d.EndTime = end.Add(time.Minute).Format(digest.TimeLayout)
	d.SetPrevious(&digest.Link{Bucket: bucket, Object: prev.Object, Hash: digest.Hash(unzip(o.body)), Signature: o.meta[digest.MetaSignature]})
	return d
}

var ofSignatures = []tampering{
	{name: "a digest's signature changed", do: func(w *world, f files, _ *verify.Config) {
		f[w.digests[home][1]].meta[digest.MetaSignature] = strings.Repeat("5a", digest.KeyBits/8)
	}, want: []string{"digest-signature: us-east-1 digest 1 records 17-28"}},
	{name: "a digest's metadata stripped", do: func(w *world, f files, _ *verify.Config) {
		f[w.digests[home][1]] = object{f[w.digests[home][1]].body, map[string]string{}}
	}, want: []string{"digest-metadata: us-east-1 digest 1"}},
	{name: "the signatures of two digests swapped", do: func(w *world, f files, _ *verify.Config) {
		a, b := f[w.digests[home][1]].meta, f[w.digests[home][2]].meta
		a[digest.MetaSignature], b[digest.MetaSignature] = b[digest.MetaSignature], a[digest.MetaSignature]
	}, want: []string{"digest-signature: us-east-1 digest 1", "digest-signature: us-east-1 digest 2 records 17-40"}},
	{name: "a digest signed again with another key, under the old key's name", do: func(w *world, f files, _ *verify.Config) {
		f.sign(w.digests[home][1], f.digest(w.digests[home][1]), stranger())
	}, want: []string{"digest-signature: us-east-1 digest 1 records 17-28"}},
	{name: "a digest signed again with another key, that key not in the list", do: func(w *world, f files, _ *verify.Config) {
		d := f.digest(w.digests[home][1])
		d.PublicKeyFingerprint = digest.Fingerprint(digest.EncodePublicKey(&stranger().PublicKey))
		f.sign(w.digests[home][1], d, stranger())
	}, want: []string{"digest-signature: us-east-1 digest 1 records 17-28"}},
	{name: "a digest signed again with another key, that key in the list", noCLI: true, do: func(w *world, f files, cfg *verify.Config) {
		der := digest.EncodePublicKey(&stranger().PublicKey)
		cfg.Keys[home] = append(slices.Clone(cfg.Keys[home]), verify.PublicKey{Fingerprint: digest.Fingerprint(der), Value: der})
		d := f.digest(w.digests[home][1])
		d.PublicKeyFingerprint = digest.Fingerprint(der)
		f.sign(w.digests[home][1], d, stranger())
	}, want: []string{"digest-chain: us-east-1 digest 1"}},
	// What follows needs the server's own signing key.
	{name: "with the signing key: a log file left out of a digest and deleted", do: func(w *world, f files, _ *verify.Config) {
		f.remove(w.logs[home][mid])
		edit(w, f, w.digests[home][1], func(d *digest.Digest) { d.LogFiles = slices.Delete(d.LogFiles, 1, 2) })
	}, want: []string{"digest-chain: us-east-1 digest 1", "record-gap: us-east-1 digest 1 records 21-24", "tree-mismatch: us-east-1 digest 1 records 17-28"}},
	{name: "with the signing key: the same in the newest digest", do: func(w *world, f files, _ *verify.Config) {
		d := last(w.digests[home])
		f.remove(f.listed(d)[1])
		edit(w, f, d, func(d *digest.Digest) { d.LogFiles = slices.Delete(d.LogFiles, 1, 2) })
	}, want: []string{"digest-chain: us-east-1 digest 6", "record-gap: us-east-1 digest 6 records 72-75", "tree-mismatch: us-east-1 digest 6 records 68-79"}},
	{name: "with the signing key: the newest log file of the newest digest left out, ranges adapted", do: func(w *world, f files, _ *verify.Config) {
		d := last(w.digests[home])
		f.remove(f.listed(d)[2], w.pending[home])
		edit(w, f, d, func(d *digest.Digest) {
			d.LogFiles = d.LogFiles[:2]
			d.Extension.Last = d.LogFiles[1].Records.Last
		})
	}, want: []string{"digest-chain: us-east-1 digest 6 records 76-79", "file-missing: us-east-1 log after the digests records 80-82", "tail-truncated: us-east-1 records 76-79", "tree-mismatch: us-east-1 digest 6 records 68-75"}},
	{name: "with the signing key: a wrong hash of the digest before", do: func(w *world, f files, _ *verify.Config) {
		edit(w, f, last(w.digests[home]), func(d *digest.Digest) { d.PreviousHash = new(digest.Hash(nil)) })
	}, want: []string{"digest-chain: us-east-1 digest 5", "digest-chain: us-east-1 digest 6"}},
	{name: "with the signing key: a digest that skips the one before it, which is deleted with its log files", do: func(w *world, f files, _ *verify.Config) {
		gone, before := w.digests[home][2], w.digests[home][1]
		f.hour(gone)
		edit(w, f, w.digests[home][3], func(d *digest.Digest) {
			d.SetPrevious(&digest.Link{Bucket: bucket, Object: before, Hash: digest.Hash(unzip(f[before].body)), Signature: f[before].meta[digest.MetaSignature]})
		})
	}, want: []string{"digest-chain: us-east-1 digest 3", "digest-chain: us-east-1 digest 3", "digest-chain: us-east-1 digest 3 records 29-40"}},
	{name: "with the signing key: a digest made a starting one, all before it deleted", do: func(w *world, f files, _ *verify.Config) {
		for _, k := range w.digests[home][:6] {
			f.hour(k)
		}
		edit(w, f, w.digests[home][6], func(d *digest.Digest) { d.SetPrevious(nil) })
	}, want: []string{"digest-chain: us-east-1 digest 6", "digest-chain: us-east-1 digest 6 records 1-67"}},
	{name: "with the signing key: Spoor's part removed from the newest digest", do: func(w *world, f files, _ *verify.Config) {
		edit(w, f, last(w.digests[home]), func(d *digest.Digest) { d.Extension = nil })
	}, want: []string{"digest-chain: us-east-1 digest 6", "digest-chain: us-east-1 digest 6 records 68-79"}},
	{name: "with the signing key: the newest digest ends the trail's history and the log file after it is deleted", afterwards: true, do: func(w *world, f files, _ *verify.Config) {
		f.remove(w.pending[home])
		edit(w, f, last(w.digests[home]), func(d *digest.Digest) { d.Extension.Final = true })
	}, want: []string{"digest-chain: us-east-1 digest 6", "file-missing: us-east-1 log after the digests records 80-82"}},
	{name: "with the signing key: a record removed from a log file and its digest written to match", do: func(w *world, f files, _ *verify.Config) {
		rewrite(w, f)
	}, want: []string{"digest-chain: us-east-1 digest 6", "tail-truncated: us-east-1 records 80-80", "tree-mismatch: us-east-1 digest 6 records 68-79"}},
	{name: "with the signing key: the Merkle tree's part of a digest changed", do: func(w *world, f files, _ *verify.Config) {
		edit(w, f, last(w.digests[home]), func(d *digest.Digest) { d.LogFiles[1].Records.Tree.Sums[0][0] ^= 1 })
	}, want: []string{"digest-chain: us-east-1 digest 6", "tree-mismatch: us-east-1 digest 6 records 1-79", "tree-mismatch: us-east-1 digest 6 records 68-79", "tree-mismatch: us-east-1 log 17 records 72-75"}},
	{name: "with the signing key: an older checkpoint in the newest digest", do: func(w *world, f files, _ *verify.Config) {
		edit(w, f, last(w.digests[home]), func(d *digest.Digest) {
			d.Extension.Tree.Checkpoint = f.digest(w.digests[home][5]).Extension.Tree.Checkpoint
		})
	}, want: []string{"digest-chain: us-east-1 digest 6", "tree-mismatch: us-east-1 digest 6 records 68-79"}},
	{name: "with the signing key: a checkpoint signed with a key of the forger's", do: func(w *world, f files, _ *verify.Config) {
		edit(w, f, last(w.digests[home]), func(d *digest.Digest) {
			key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
			c, err := tree.ParseCheckpoint(d.Extension.Tree.Checkpoint)
			if err == nil {
				d.Extension.Tree.Checkpoint, err = c.Sign(key)
			}
			if err == nil {
				d.Extension.Tree.Key, err = tree.VerifierKey("spoor/"+account, key.Public().(ed25519.PublicKey))
			}
			if err != nil {
				panic(err)
			}
		})
	}, want: []string{"checkpoint-invalid: us-east-1 digest 6", "digest-chain: us-east-1 digest 6"}},
	{name: "with both keys: a record removed from a log file, its digest and checkpoint written to match", do: func(w *world, f files, _ *verify.Config) {
		rewrite(w, f)
		edit(w, f, last(w.digests[home]), func(d *digest.Digest) { resign(w, d) })
	}, want: []string{"digest-chain: us-east-1 digest 6", "tail-truncated: us-east-1 records 80-80"}},
	{name: "with both keys: the newest log file of the newest digest left out, all written to match", do: func(w *world, f files, _ *verify.Config) {
		d := last(w.digests[home])
		f.remove(f.listed(d)[2], w.pending[home])
		edit(w, f, d, func(d *digest.Digest) {
			d.LogFiles = d.LogFiles[:2]
			d.Extension.Last = d.LogFiles[1].Records.Last
			resign(w, d)
		})
	}, want: []string{"digest-chain: us-east-1 digest 6 records 76-79", "file-missing: us-east-1 log after the digests records 80-82", "tail-truncated: us-east-1 records 76-79"}},
}

// rewrite removes a record from a log file of the newest digest and writes the
// digest to match, as far as one can who has its signing key.
func rewrite(w *world, f files) {
	key := w.logs[home][17]
	f.records(key, func(r []json.RawMessage) []json.RawMessage { return slices.Delete(r, 1, 2) })
	edit(w, f, last(w.digests[home]), func(d *digest.Digest) {
		l := d.LogFiles[1].Records
		d.LogFiles[1].Hash, l.Stored, l.Count = digest.Hash(unzip(f[key].body)), digest.Hash(f[key].body), l.Count-1
		l.Tree.Sums = slices.Delete(l.Tree.Sums, 1, 2)
		next := d.LogFiles[2].Records.Tree
		next.First--
		next.Sums = tree.Sums(next.First, leavesOf(f, d.LogFiles[2].Object))
	})
}

// leavesOf hashes a log file's records.
func leavesOf(f files, key string) []tree.Hash {
	var log struct{ Records []json.RawMessage }
	if err := json.Unmarshal(unzip(f[key].body), &log); err != nil {
		panic(err)
	}
	var out []tree.Hash
	for _, r := range log.Records {
		out = append(out, tree.LeafHash(r))
	}
	return out
}

// resign makes a digest's checkpoint that of its log files.
func resign(w *world, d *digest.Digest) {
	at := d.Extension.Tree.Before.Clone()
	for i := range d.LogFiles {
		if err := at.Extend(uint64(d.LogFiles[i].Records.Count), d.LogFiles[i].Records.Tree.Sums); err != nil {
			panic(err)
		}
	}
	c := tree.Checkpoint{Origin: tree.Origin(account, home, name, home), Size: at.Size, Root: at.Root()}
	var err error
	if d.Extension.Tree.Checkpoint, err = c.Sign(w.notes); err != nil {
		panic(err)
	}
}
