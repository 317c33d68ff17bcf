package lake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/gzip"

	"spoor/internal/kv"
	"spoor/internal/trail"
)

// The states of a delivery of a result, by AWS's names.
const (
	DeliveryPending      = "PENDING"
	DeliverySuccess      = "SUCCESS"
	DeliveryFailed       = "FAILED"
	DeliveryFailedSign   = "FAILED_SIGNING_FILE"
	DeliveryNoBucket     = "RESOURCE_NOT_FOUND"
	DeliveryDenied       = "ACCESS_DENIED"
	DeliveryDeniedSign   = "ACCESS_DENIED_SIGNING_FILE"
	DeliveryCancelled    = "CANCELLED"
	deliveryTries        = 6 // the pauses between them add up to half a minute
	firstDeliveryPause   = time.Second
	resultFile, signFile = "result_1.csv.gz", "result_sign.json"
	signVersion          = "1.0"
	hashAlgorithm        = "SHA-256"
	signAlgorithm        = "SHA256withRSA"
	completeTime         = "2006-01-02T15:04:05Z"
)

// Signer signs a text with a region's key. trail.Manager.SignText is one.
type Signer func(region string, at time.Time, text string) (signature []byte, fingerprint string, err error)

// Delivery is where the result of a query goes besides GetQueryResults.
type Delivery struct {
	URI    string `json:"uri"`
	Bucket string `json:"bucket"`
	Prefix string `json:"prefix"` // without a slash at its end
	Status string `json:"status"`
}

// ResultKey is the key of a file of a query's result (CloudTrail user guide,
// "CloudTrail sign file structure" and "Find your CloudTrail Lake saved query
// results").
func ResultKey(prefix, account, query string, day time.Time, file string) string {
	if prefix != "" {
		prefix += "/"
	}
	return prefix + "AWSLogs/" + account + "/CloudTrail-Lake/Query/" + day.UTC().Format("2006/01/02") + "/" + query + "/" + file
}

// MayDeliver reports whether a bucket's policy, of the account owner, lets
// CloudTrail write a query's results.
func MayDeliver(document, owner string, q *Query) (bool, error) {
	for _, g := range []trail.ServiceGrant{
		{Action: "s3:GetBucketAcl", Resource: "arn:aws:s3:::" + q.Delivery.Bucket},
		{Action: "s3:PutObject", Resource: "arn:aws:s3:::" + q.Delivery.Bucket + "/" + ResultKey(q.Delivery.Prefix, q.Account, q.ID, q.Created, resultFile)},
	} {
		g.Owner, g.Account, g.Source = owner, q.Account, q.Stores[0]
		if g.Action == "s3:PutObject" {
			g.Context = map[string][]string{"s3:x-amz-acl": {resultACL}}
		}
		if ok, err := g.Allowed(document); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// resultACL is the header that every delivery of CloudTrail carries.
const resultACL = "bucket-owner-full-control"

// deliver writes the result of a finished query to its bucket: the rows, then
// the file that signs them.
//
// Crash story: the state PENDING is durable with FINISHED. What is written is
// the same however often it is: the rows, the names and the time that is signed
// are the query's, and a start takes up what was pending.
func (m *Manager) deliver(ctx context.Context, q *Query) error {
	body, err := m.resultCSV(q)
	if err != nil {
		return err
	}
	pause := firstDeliveryPause
	for try := 1; ; try++ {
		status, err := m.tryDelivery(ctx, q, body)
		if err != nil && ctx.Err() != nil {
			return nil // the next start takes it up
		}
		if err != nil && status == DeliveryPending && try < deliveryTries {
			wait(ctx, pause, nil)
			pause *= 2
			continue
		}
		if err != nil {
			m.cfg.Log.Error("the result of a query cannot be delivered", "query", q.ID, "bucket", q.Delivery.Bucket, "status", status, "err", err)
		}
		if status == DeliveryPending {
			status = DeliveryFailed
		}
		return m.setDelivery(q, status)
	}
}

// tryDelivery delivers once. The state PENDING beside an error means that it
// may be tried again.
func (m *Manager) tryDelivery(ctx context.Context, q *Query, body []byte) (string, error) {
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	opts := trail.PutOptions{ContentType: "application/gzip", ACL: resultACL}
	if status, err := m.putResult(ctx, q, resultFile, body, opts); err != nil {
		return status, err
	}
	// The signed text is the hashes of the files with a space in between; there
	// is one file.
	signature, fingerprint, err := m.cfg.Sign(q.Region, q.Ended, hash)
	if err != nil {
		return DeliveryFailedSign, err
	}
	type file struct {
		Hash string `json:"fileHashValue"`
		Name string `json:"fileName"`
	}
	sign, err := json.Marshal(struct {
		Version     string `json:"version"`
		Region      string `json:"region"`
		Files       []file `json:"files"`
		Hash        string `json:"hashAlgorithm"`
		Algorithm   string `json:"signatureAlgorithm"`
		Completed   string `json:"queryCompleteTime"`
		Signature   string `json:"hashSignature"`
		Fingerprint string `json:"publicKeyFingerprint"`
	}{signVersion, q.Region, []file{{hash, resultFile}}, hashAlgorithm, signAlgorithm, q.Ended.UTC().Format(completeTime), hex.EncodeToString(signature), fingerprint})
	if err != nil {
		return DeliveryFailedSign, err
	}
	opts.ContentType = "application/json"
	status, err := m.putResult(ctx, q, signFile, sign, opts)
	if err != nil && status == DeliveryDenied {
		status = DeliveryDeniedSign
	}
	return status, err
}

func (m *Manager) putResult(ctx context.Context, q *Query, name string, body []byte, o trail.PutOptions) (string, error) {
	document, owner, err := m.cfg.Bucket.Policy(ctx, q.Delivery.Bucket)
	if err == nil {
		var ok bool
		if ok, err = MayDeliver(document, owner, q); err == nil && !ok {
			err = trail.ErrDenied
		}
	}
	if err == nil {
		err = m.cfg.Bucket.Put(ctx, q.Delivery.Bucket, ResultKey(q.Delivery.Prefix, q.Account, q.ID, q.Created, name), body, o)
	}
	switch {
	case err == nil:
		return DeliverySuccess, nil
	case errors.Is(err, trail.ErrNoSuchBucket):
		return DeliveryNoBucket, err
	case errors.Is(err, trail.ErrDenied):
		return DeliveryDenied, err
	}
	return DeliveryPending, err
}

// resultCSV is a result as a gzip of CSV, with a line of names first.
func (m *Manager) resultCSV(q *Query) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := csv.NewWriter(zip)
	if err := w.Write(q.Columns); err != nil {
		return nil, fmt.Errorf("writing a result as CSV: %w", err)
	}
	var failed error
	cells := make([]string, 0, len(q.Columns))
	err := m.Results(q.ID, 0, int(q.Rows), func(row []map[string]string) {
		cells = cells[:0]
		for _, cell := range row {
			for _, v := range cell { // one value under its column's name
				cells = append(cells, v)
			}
		}
		failed = errors.Join(failed, w.Write(cells))
	})
	w.Flush()
	if err := errors.Join(err, failed, w.Error(), zip.Close()); err != nil {
		return nil, fmt.Errorf("writing a result as CSV: %w", err)
	}
	return out.Bytes(), nil
}

func (m *Manager) setDelivery(q *Query, status string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.Query(q.Account, q.Region, q.ID)
	if err != nil || now == nil {
		return err // it has expired
	}
	now.Delivery.Status = status
	b := m.cfg.Store.NewBatch()
	b.Set(queryKey(q.Account, q.Region, q.ID), kv.MustJSON(now))
	return m.cfg.Journal.Commit(b)
}
