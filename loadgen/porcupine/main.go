// Whether what the clients of a shop were told can be true, by Porcupine: a purchase is an operation from its first POST
// to the end that its client saw, and the operations on each token must have an order in which it is bought once.
//
//	porcupine [-alone] [-seconds 60] client.jsonl...
//
// It prints JSON, and ends with 0 whatever it found. When a journal cannot be read, {"unreadable": ...} is all of it.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Porcupine's memory grows with the square of one token's operations: so many take 0.4 GB.
const mostOperations = 50_000

// A finding says what cannot be true of one token: next stands next in order, and cannot, if only because
// earlier had its end before next was asked for.
type finding struct {
	Token      int64 `json:"token"`
	Operations int   `json:"operations"`
	Placed     int   `json:"placed"`
	Next       seen  `json:"next"`
	Earlier    *seen `json:"earlier"`
}

type seen struct {
	Purchase string `json:"purchase"`
	Told     string `json:"told"`
}

type unchecked struct {
	Token      int64  `json:"token"`
	Operations int    `json:"operations"`
	Why        string `json:"why"`
}

// A twice is a purchase that was told two ends.
type twice struct {
	Purchase string   `json:"purchase"`
	Told     []string `json:"told"`
}

type report struct {
	Tokens    int         `json:"tokens"`
	Purchases int         `json:"purchases"`
	Ended     int         `json:"ended"`
	Broken    []finding   `json:"broken"`
	Twice     []twice     `json:"twice"`
	Backwards []string    `json:"backwards"`
	Unchecked []unchecked `json:"unchecked"`
	// Journals that end early.
	Partly []unreadable `json:"partly"`
}

func main() {
	alone := flag.Bool("alone", false, "nobody else ever asked for these tokens")
	seconds := flag.Float64("seconds", 60, "the longest that one token may take")
	flag.Parse()
	all := histories{of: map[string]*history{}}
	for _, name := range flag.Args() {
		if failed := all.read(name); failed != nil {
			print(map[string]any{"unreadable": failed})
			return
		}
	}
	print(all.judged(*alone, time.Duration(*seconds*float64(time.Second))))
}

func print(found any) {
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}

func (all *histories) judged(alone bool, patience time.Duration) report {
	found := report{Broken: []finding{}, Twice: []twice{}, Unchecked: []unchecked{}, Partly: []unreadable{}}
	found.Partly = append(found.Partly, all.partly...)
	found.Backwards = all.backwards()
	for id, key := range all.of {
		if len(key.told) > 1 && len(key.requests) > 0 {
			found.Twice = append(found.Twice, twice{id, key.told})
		}
	}
	slices.SortFunc(found.Twice, func(a, b twice) int { return cmp.Compare(a.Purchase, b.Purchase) })
	tokens := all.operations(alone)
	numbers := make([]int64, 0, len(tokens))
	for token := range tokens {
		numbers = append(numbers, token)
	}
	slices.Sort(numbers)
	for _, token := range numbers {
		found.Tokens++
		for _, one := range tokens[token] {
			if id(one) != stranger {
				found.Purchases++
			}
			if one.Output != unseen {
				found.Ended++
			}
		}
		found.judge(token, ordered(tokens[token]), patience)
	}
	return found
}

func (found *report) judge(token int64, operations []porcupine.Operation, patience time.Duration) {
	count := len(operations)
	if count > mostOperations {
		found.Unchecked = append(found.Unchecked, unchecked{token, count, "too many"})
		return
	}
	switch porcupine.CheckOperationsTimeout(model, operations, patience) {
	case porcupine.Illegal:
		found.Broken = append(found.Broken, explained(token, operations, patience))
	case porcupine.Unknown:
		found.Unchecked = append(found.Unchecked, unchecked{token, count, "too slow"})
	}
}

// explained finds where the order ends: Porcupine tells how far it came.
func explained(token int64, operations []porcupine.Operation, patience time.Duration) finding {
	_, info := porcupine.CheckOperationsVerbose(model, operations, patience)
	placed := 0
	for _, partial := range info.PartialLinearizations()[0] {
		placed = max(placed, len(partial))
	}
	next := operations[placed]
	found := finding{Token: token, Operations: len(operations), Placed: placed, Next: shown(next)}
	for _, one := range operations[placed+1:] {
		if one.Return < next.Call {
			next.Call = one.Return
			earlier := shown(one)
			found.Earlier = &earlier
		}
	}
	return found
}

func shown(one porcupine.Operation) seen { return seen{id(one), one.Output.(string)} }
