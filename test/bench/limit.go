package main

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Sizes of what an INSERT of the benchmark writes with its record: a row of
// about 260 bytes and a record of about 1,300.
const (
	limitRow    = 260
	limitRecord = 1300
)

// limit measures the bare committer: callers hand a row and a record to one
// goroutine, which commits what is waiting as one batch with one sync.
func limit(dir string, d time.Duration, callers int) (fig figure, err error) {
	db, err := pebble.Open(dir, &pebble.Options{MemTableSize: 16 << 20, MemTableStopWritesThreshold: 4, Logger: quiet{}})
	if err != nil {
		return figure{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	type request struct{ done chan error }
	var mu sync.Mutex
	var queue []request
	wake := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		row, rec := make([]byte, limitRow), make([]byte, limitRecord)
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

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(f)
}
