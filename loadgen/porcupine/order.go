package main

import (
	"cmp"
	"slices"

	"github.com/anishathalye/porcupine"
)

// ordered gives each operation on one token its place, so that Porcupine tries one order instead of all.
//
// A place is one more condition of the model: it can make Porcupine refuse more, never accept more. That it refuses no
// history that has another legal order: first stands who read that there is no such token, then, before the purchase that
// bought, who read a free one, both as early as they asked; behind it everybody reads a bought one, as late as their answer. Who bought is
// known, or is one of those whose end nobody saw; of these the first that asked can have, if any can. The others of
// these never took effect, for all that anybody saw. Tested against Porcupine without places in model_test.go.
func ordered(operations []porcupine.Operation) []porcupine.Operation {
	buyer := buyerOf(operations)
	slices.SortStableFunc(operations, func(a, b porcupine.Operation) int {
		if by := cmp.Compare(part(a, buyer), part(b, buyer)); by != 0 {
			return by
		}
		if a.Output == late {
			return cmp.Compare(a.Return, b.Return)
		}
		return cmp.Compare(a.Call, b.Call)
	})
	for place := range operations {
		operations[place].Input = purchase{id(operations[place]), place}
	}
	return operations
}

// buyerOf is the id of the purchase that bought, or may have: "" when there is none.
func buyerOf(operations []porcupine.Operation) string {
	var buyer *porcupine.Operation
	for at := range operations {
		one := &operations[at]
		if one.Output == sold {
			return id(*one)
		}
		if one.Output == unseen && (buyer == nil || one.Call < buyer.Call) {
			buyer = one
		}
	}
	if buyer == nil {
		return ""
	}
	return id(*buyer)
}

func part(one porcupine.Operation, buyer string) int {
	switch told := one.Output.(string); {
	case told == unknown:
		return 0
	case early[told]:
		return 1
	case id(one) == buyer || told == sold:
		return 2
	case told == unseen:
		return 4
	}
	return 3
}

func id(one porcupine.Operation) string { return one.Input.(purchase).id }
