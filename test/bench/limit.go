package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"spoor/internal/call"
	"spoor/internal/kv"
)

// limitRow is the size of the row that an INSERT of the benchmark writes.
const limitRow = 260

// limitRecord is what an INSERT of the benchmark is recorded as; the ids
// differ from record to record, so that it compresses as the real ones do.
const limitRecord = `{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","principalId":"AIDAQEAAAAAAAEXAMPLE4","arn":"arn:aws:iam::123456789012:user/admin",` +
	`"accountId":"123456789012","userName":"admin"},"eventTime":"2026-11-24T11:32:15Z","eventSource":"cassandra.amazonaws.com","eventName":"Insert",` +
	`"awsRegion":"us-east-1","sourceIPAddress":"127.0.0.1","userAgent":"Cassandra Client/ProtocolV4","requestParameters":{"keyspaceName":"bench","tableName":"t",` +
	`"primaryKeys":{"pk":"'c**(Redacted)3'","ck":"1**(Redacted)7"},"columnNames":["pk","ck","v"],"updateParameters":{}},"responseElements":null,` +
	`"requestID":"%s","eventID":"%s","readOnly":false,"resources":[{"accountId":"123456789012","type":"AWS::Cassandra::Table",` +
	`"ARN":"arn:aws:cassandra:us-east-1:123456789012:/keyspace/bench/table/t"}],"eventType":"AwsApiCall","apiVersion":"3.4.4","managementEvent":false,` +
	`"recipientAccountId":"123456789012","eventCategory":"Data","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256",` +
	`"clientProvidedHostHeader":"cassandra.us-east-1.amazonaws.com","keyExchange":"X25519MLKEM768"}}`

// limit measures the bare committer: callers hand a row and a record to one
// goroutine, which commits what is waiting as one batch with one sync.
func limit(dir string, d time.Duration, callers int) (fig figure, err error) {
	store, err := kv.Open(dir, kv.Options{CacheBytes: 64 << 20}) // the server's own options
	if err != nil {
		return figure{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	db := store.DB()
	type request struct{ done chan error }
	var mu sync.Mutex
	var queue []request
	wake := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		row := make([]byte, limitRow)
		rec := fmt.Appendf(nil, limitRecord, call.NewID(), call.NewID())
		ids := []int{strings.Index(limitRecord, "%s"), strings.LastIndex(limitRecord, "%s") + len(call.NewID()) - len("%s")}
		seq := uint64(0)
		for range wake {
			mu.Lock()
			group := queue
			queue = nil
			mu.Unlock()
			b := db.NewBatch()
			var err error
			for range group {
				seq++
				for _, at := range ids {
					copy(rec[at:], call.NewID())
				}
				// As in the server: records in order, rows by a hash.
				err = errors.Join(err,
					b.Set(binary.BigEndian.AppendUint64([]byte{2}, seq), rec, nil),
					b.Set(binary.BigEndian.AppendUint64([]byte{16}, seq*0x9E3779B97F4A7C15), row, nil))
			}
			err = errors.Join(err, b.Commit(pebble.Sync), b.Close())
			for _, r := range group {
				r.done <- err
			}
		}
	}()
	fig, err = run(d, callers, func(int) (func() error, error) {
		r := request{done: make(chan error, 1)}
		return func() error {
			mu.Lock()
			queue = append(queue, r)
			mu.Unlock()
			select {
			case wake <- struct{}{}:
			default:
			}
			return <-r.done
		}, nil
	})
	close(wake)
	<-ended
	return fig, err
}
