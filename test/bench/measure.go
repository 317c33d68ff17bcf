package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// figure is one measured cell.
type figure struct {
	perSecond float64
	p50, p99  time.Duration
}

// run calls each worker's function again and again for the given time and
// counts. worker i's function belongs to one goroutine.
func run(d time.Duration, workers int, worker func(i int) (func() error, error)) (figure, error) {
	fns := make([]func() error, workers)
	for i := range fns {
		f, err := worker(i)
		if err != nil {
			return figure{}, err
		}
		fns[i] = f
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	lat := make([][]time.Duration, workers)
	errs := make([]error, workers)
	start := time.Now()
	for i, f := range fns {
		wg.Go(func() {
			last := time.Now()
			for !stop.Load() {
				if err := f(); err != nil {
					errs[i] = err
					return
				}
				now := time.Now()
				lat[i] = append(lat[i], now.Sub(last))
				last = now
			}
		})
	}
	time.Sleep(d)
	stop.Store(true)
	wg.Wait()
	elapsed := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return figure{}, err
		}
	}
	all := slices.Concat(lat...)
	if len(all) == 0 {
		return figure{}, fmt.Errorf("nothing was done in %s", d)
	}
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[min(len(all)-1, int(q*float64(len(all))))] }
	return figure{perSecond: float64(len(all)) / elapsed.Seconds(), p50: at(0.5), p99: at(0.99)}, nil
}

// median is the middle of several figures by throughput.
func median(fs []figure) figure {
	slices.SortFunc(fs, func(a, b figure) int { return int(a.perSecond - b.perSecond) })
	return fs[len(fs)/2]
}
