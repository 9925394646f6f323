package main

import (
	"math"
	"math/rand"
	"testing"

	"github.com/anishathalye/porcupine"
)

var ends = []string{
	sold, late, late, late, unseen, "saldo-insuficiente", "precio-mayor", "usuario-inexistente", "token-disputado",
	unknown, "no-me-gusta",
}

// random is a history of a few operations that overlap often, and of which about half can be put in order.
func random(from *rand.Rand) []porcupine.Operation {
	operations := make([]porcupine.Operation, 1+from.Intn(7))
	for at := range operations {
		call := from.Int63n(12)
		told, back := ends[from.Intn(len(ends))], call+from.Int63n(8)
		if told == unseen {
			back = math.MaxInt64
		}
		if from.Intn(20) == 0 {
			told, call, back = unseen, math.MinInt64, math.MaxInt64
		}
		operations[at] = operation(string(rune('a'+at)), call, told, back)
	}
	return operations
}

func TestWithPlacesPorcupineSaysWhatItSaysWithout(t *testing.T) {
	from := rand.New(rand.NewSource(1))
	legal := 0
	const histories = 50_000
	for number := 0; number < histories; number++ {
		operations := random(from)
		without := porcupine.CheckOperations(model, operations)
		if with := porcupine.CheckOperations(model, ordered(operations)); with != without {
			t.Fatalf("with places %v, without %v: %v", with, without, operations)
		}
		if without {
			legal++
		}
	}
	if legal < histories/4 || legal > histories*3/4 {
		t.Fatalf("%d of %d histories are legal: the test sees one side only", legal, histories)
	}
}

func TestAPurchaseIsNamedAsInTheShop(t *testing.T) {
	// uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, "urn:zoco:compra"), "77:2f1c-ñ") in Python.
	if id := purchaseID(77, "2f1c-ñ"); id != "0a64720f-60f6-514c-9d86-18ede9be5675" {
		t.Fatal(id)
	}
}

func TestWhatIsTooMuchForPorcupineIsNotJudged(t *testing.T) {
	found := report{}
	found.judge(7, make([]porcupine.Operation, mostOperations+1), 0)
	if len(found.Unchecked) != 1 || found.Unchecked[0].Token != 7 {
		t.Fatal(found)
	}
}
