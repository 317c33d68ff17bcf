package cloudtrail

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
)

// described waits for a query's delivery to end.
func (r *rig) described(c *sdk.Client, id *string) *sdk.DescribeQueryOutput {
	r.t.Helper()
	var d *sdk.DescribeQueryOutput
	until(r.t, func() (done bool) {
		var err error
		if d, err = c.DescribeQuery(r.t.Context(), &sdk.DescribeQueryInput{QueryId: id}); err != nil {
			r.t.Fatal(err)
		}
		return d.DeliveryStatus != types.DeliveryStatusPending
	})
	return d
}

func (b *bucket) setPolicy(name, document string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.policies[name] = document
}

func (b *bucket) keys(prefix string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, k := range slices.Sorted(maps.Keys(b.bodies)) {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	return out
}

// TestQueryResultDelivery checks a delivered result as AWS's verifier does: the
// hash of the file, and the signature with the key that ListPublicKeys has.
func TestQueryResultDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	for _, name := range []string{"one-trail", "two,trail"} {
		if _, err := c.CreateTrail(ctx, create(name)); err != nil && code(err) != "InvalidTrailNameException" {
			t.Fatal(err)
		}
	}
	const only = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},
"Action":["s3:GetBucketAcl","s3:PutObject*"],"Resource":["arn:aws:s3:::results","arn:aws:s3:::results/*"],
"Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:cloudtrail:us-east-1:123456789012:eventdatastore/*"},"StringEquals":{"aws:SourceAccount":"123456789012"}}}]}`
	r.bucket.setPolicy("results", only)
	statement := `SELECT eventName, element_at(requestParameters, 'name') AS trail, errorCode FROM ` + id + ` WHERE eventName = 'CreateTrail' ORDER BY 2`
	q, err := c.StartQuery(ctx, &sdk.StartQueryInput{QueryStatement: &statement, DeliveryS3Uri: new("s3://results/some/place/")})
	if err != nil {
		t.Fatal(err)
	}
	d := r.described(c, q.QueryId)
	if d.DeliveryStatus != types.DeliveryStatusSuccess || *d.DeliveryS3Uri != "s3://results/some/place/" || d.QueryStatus != types.QueryStatusFinished {
		t.Fatalf("%+v", d)
	}
	at := "results/some/place/AWSLogs/" + account + "/CloudTrail-Lake/Query/" + d.QueryStatistics.CreationTime.UTC().Format("2006/01/02") + "/" + *q.QueryId + "/"
	if diff := cmp.Diff([]string{at + "result_1.csv.gz", at + "result_sign.json"}, r.bucket.keys("results/")); diff != "" {
		t.Fatal(diff)
	}
	body := r.bucket.bodies[at+"result_1.csv.gz"]
	zip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(zip).ReadAll()
	want := [][]string{{"eventname", "trail", "errorcode"}, {"CreateTrail", "one-trail", ""}, {"CreateTrail", "two,trail", "InvalidTrailNameException"}}
	if diff := cmp.Diff(want, rows); err != nil || diff != "" {
		t.Error(err, diff)
	}
	var sign struct {
		Version, Region, HashAlgorithm, SignatureAlgorithm, HashSignature, PublicKeyFingerprint string
		QueryCompleteTime                                                                       time.Time
		Files                                                                                   []struct{ FileHashValue, FileName string }
	}
	if err := json.Unmarshal(r.bucket.bodies[at+"result_sign.json"], &sign); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	if sign.Version != "1.0" || sign.Region != region || sign.HashAlgorithm != "SHA-256" || sign.SignatureAlgorithm != "SHA256withRSA" ||
		len(sign.Files) != 1 || sign.Files[0].FileName != "result_1.csv.gz" || sign.Files[0].FileHashValue != hex.EncodeToString(sum[:]) {
		t.Fatalf("the sign file %+v", sign)
	}
	keys, err := c.ListPublicKeys(ctx, &sdk.ListPublicKeysInput{StartTime: &sign.QueryCompleteTime, EndTime: new(sign.QueryCompleteTime.AddDate(0, 0, 20))})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(keys.PublicKeyList, func(k types.PublicKey) bool { return *k.Fingerprint == sign.PublicKeyFingerprint })
	if i < 0 {
		t.Fatal("the key is not listed")
	}
	key, err := x509.ParsePKCS1PublicKey(keys.PublicKeyList[i].Value)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := hex.DecodeString(sign.HashSignature)
	if err != nil {
		t.Fatal(err)
	}
	signed := sha256.Sum256([]byte(sign.Files[0].FileHashValue))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, signed[:], signature); err != nil {
		t.Error(err)
	}
}

// TestQueryResultDeliveryFails: what stands in a delivery's way is said, before
// the query runs or after.
func TestQueryResultDeliveryFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	r.bucket.setPolicy("closed", "")
	for uri, want := range map[string]string{
		"s3://absent-bucket": "S3BucketDoesNotExistException", "s3://closed": "InsufficientS3BucketPolicyException",
		"s3://logs/a//b": "InvalidS3PrefixException", "s3://logs/../b": "InvalidS3PrefixException", "s3://192.168.1.1/x": "InvalidS3BucketNameException", "https://logs": "ValidationException",
	} {
		if _, err := c.StartQuery(ctx, &sdk.StartQueryInput{QueryStatement: new("SELECT 1 FROM " + id), DeliveryS3Uri: &uri}); code(err) != want {
			t.Errorf("%s: %v, want %s", uri, err, want)
		}
	}
	// A query that fails has nothing to deliver.
	q, err := c.StartQuery(ctx, &sdk.StartQueryInput{QueryStatement: new("SELECT CAST(eventName AS bigint) FROM " + id), DeliveryS3Uri: new("s3://logs")})
	if err != nil {
		t.Fatal(err)
	}
	if d := r.described(c, q.QueryId); d.QueryStatus != types.QueryStatusFailed || d.DeliveryStatus != types.DeliveryStatusFailed {
		t.Errorf("%+v", d)
	}
	if got := r.bucket.keys("logs/"); len(got) != 0 {
		t.Errorf("delivered %v", got)
	}
}
