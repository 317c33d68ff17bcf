package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"spoor/internal/digest"
	"spoor/internal/tree"
)

// benchRecord is a management event as the server records one, with ids that
// do not compress.
func benchRecord(r *rand.Rand, n int) []byte {
	id := fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xfff, r.Uint32()&0xfff, r.Uint64()&0xffffffffffff)
	return fmt.Appendf(nil, `{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","principalId":"AIDACKCEVSQ6C2EXAMPLE","arn":"arn:aws:iam::123456789012:user/alice%d","accountId":"123456789012","accessKeyId":"AKIAIOSFODNN7EXAMPLE","userName":"alice%d"},`+
		`"eventTime":"2026-11-24T09:%02d:%02dZ","eventSource":"athena.amazonaws.com","eventName":"StartQueryExecution","awsRegion":"us-east-1","sourceIPAddress":"192.0.2.%d","userAgent":"aws-cli/2.15.0 md/awscrt#0.19.19 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.11.6",`+
		`"requestParameters":{"queryString":"SELECT user, count(*) FROM \"logs\".\"events\" WHERE day = '%d' GROUP BY 1","queryExecutionContext":{"database":"logs"},"workGroup":"primary"},"responseElements":{"queryExecutionId":"%x"},`+
		`"requestID":"%x","eventID":"%s","readOnly":false,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"athena.us-east-1.amazonaws.com"}}`,
		n%50, n%50, n/60%60, n%60, n%250, n, r.Uint64(), r.Uint64(), id)
}

// benchWorld is a trail of one digest with files of 5 MB each.
func benchWorld(b *testing.B, files int) (w *world, plain int64) {
	b.Helper()
	w = &world{memory: &memory{objects: map[string]object{}}, digests: map[string][]string{}, files: map[string][]string{}, chain: map[string]*chainEnd{},
		start: time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)}
	w.cfg = Config{Source: w, TrailARN: trailARN, Bucket: bucket, Keys: map[string][]PublicKey{home: {keyOf(testKey())}}}
	d := &digest.Digest{AccountID: account, StartTime: w.start.Format(digest.TimeLayout), Bucket: bucket, SignatureAlgorithm: digest.SignatureAlgorithm,
		PublicKeyFingerprint: w.cfg.Keys[home][0].Fingerprint, Extension: &digest.Extension{Version: 1, TrailARN: trailARN, Number: 1, First: 1, Regions: []string{}, Tree: &digest.Tree{}}}
	r := rand.New(rand.NewPCG(1, 2))
	var at tree.Frontier
	for i := range files {
		var buf bytes.Buffer
		var leaves []tree.Hash
		buf.WriteString(`{"Records":[`)
		for buf.Len() < 5<<20 {
			if len(leaves) > 0 {
				buf.WriteByte(',')
			}
			rec := benchRecord(r, len(leaves))
			leaves = append(leaves, tree.LeafHash(rec))
			buf.Write(rec)
		}
		buf.WriteString(`]}`)
		plain += int64(buf.Len())
		first, key := at.Size, place(home).LogKey(w.start.Add(time.Duration(i)*time.Second), fmt.Sprintf("%016d", i))
		body := zip(buf.Bytes())
		sums := tree.Sums(first, leaves)
		if err := at.Extend(uint64(len(leaves)), sums); err != nil {
			b.Fatal(err)
		}
		stamp := w.start.Format(digest.TimeLayout)
		d.LogFiles = append(d.LogFiles, digest.LogFile{Bucket: bucket, Object: key, Hash: digest.Hash(buf.Bytes()), HashAlgorithm: digest.HashAlgorithm,
			NewestEventTime: &stamp, OldestEventTime: &stamp,
			Records: &digest.Range{First: first + 1, Last: at.Size, Count: len(leaves), Stored: digest.Hash(body), Tree: &digest.Leaves{First: first, Sums: sums}}})
		w.objects[key] = object{body: body, meta: map[string]string{digest.MetaTrail: trailARN,
			digest.MetaFirstSeq: strconv.FormatUint(first+1, 10), digest.MetaLastSeq: strconv.FormatUint(at.Size, 10)}}
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	signed, err := tree.Checkpoint{Origin: tree.Origin(account, home, "audit", home), Size: at.Size, Root: at.Root()}.Sign(key)
	if err != nil {
		b.Fatal(err)
	}
	d.Extension.Last, d.Extension.Tree.Checkpoint = at.Size, signed
	if d.Extension.Tree.Key, err = tree.VerifierKey("spoor/"+account, key.Public().(ed25519.PublicKey)); err != nil {
		b.Fatal(err)
	}
	end := w.start.Add(time.Hour)
	d.EndTime, d.Object = end.Format(digest.TimeLayout), place(home).DigestKey("audit", home, end)
	w.put(d, testKey())
	return w, plain
}

// BenchmarkVerify is the whole verification of a trail, beside the least that
// any verifier has to do: to inflate and hash the same files, as many at a time
// as there are processors. Both alternate in one run, since the ratio is what
// counts: "x-time" of the clock, "x-cpu" of processor time.
func BenchmarkVerify(b *testing.B) {
	w, n := benchWorld(b, 16)
	b.SetBytes(n)
	var least, leastCPU, took, tookCPU time.Duration
	for b.Loop() {
		b.StopTimer()
		wall, cpu := time.Now(), processorTime(b)
		gunzipSHA256(b, w)
		least, leastCPU = least+time.Since(wall), leastCPU+processorTime(b)-cpu
		b.StartTimer()
		wall, cpu = time.Now(), processorTime(b)
		if r, err := Run(b.Context(), w.cfg); err != nil || r.ExitCode() != ExitClean || r.Regions[0].TreeSize == 0 {
			b.Fatalf("%+v %v", r, err)
		}
		took, tookCPU = took+time.Since(wall), tookCPU+processorTime(b)-cpu
	}
	b.ReportMetric(took.Seconds()/least.Seconds(), "x-time")
	b.ReportMetric(tookCPU.Seconds()/leastCPU.Seconds(), "x-cpu")
}

// processorTime is what the process used, in and outside the kernel.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func gunzipSHA256(b *testing.B, w *world) {
	b.Helper()
	jobs := make(chan []byte)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for body := range jobs {
				z, err := gzip.NewReader(bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					continue
				}
				if _, err := io.Copy(sha256.New(), z); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for _, o := range w.objects {
		jobs <- o.body
	}
	close(jobs)
	wg.Wait()
}
