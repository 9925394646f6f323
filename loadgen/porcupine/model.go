package main

import "github.com/anishathalye/porcupine"

// What a buyer was told in the end; a refusal is told by its motivo. unseen: the client never saw the end.
const (
	sold    = "registrada"
	late    = "token-vendido"
	unknown = "token-inexistente"
	unseen  = ""
)

// Refusals that tokens or usuarios decide only about a token that can still be had: a sold one is refused as late
// before anything else is looked at, and money is asked for only while the token is held, and so not sold.
var early = map[string]bool{
	"saldo-insuficiente": true, "usuario-inexistente": true, "precio-mayor": true, "token-disputado": true, "ya-en-cola": true,
}

// A purchase is an operation's input. place: where it stands in the one order to be tried (order.go), or anywhere.
type purchase struct {
	id    string
	place int
}

const anywhere = -1

// A token goes one way: nobody can say when it is published, so what is absent may be free a moment later.
const (
	absent = iota
	free
	bought
)

// The state of a token, and how many purchases have been put in order.
type token struct{ state, placed int }

// A token is bought once, and all else that a buyer is told is a reading of its state.
// An unseen purchase buys what is free. One that never took effect stands behind all others, where nobody sees it.
var model = porcupine.Model{
	Init: func() any { return token{} },
	Step: func(state, input, output any) (bool, any) {
		now, asked, told := state.(token), input.(purchase), output.(string)
		if asked.place != anywhere && asked.place != now.placed {
			return false, nil
		}
		switch {
		case told == unseen:
			return true, token{bought, now.placed + 1}
		case told == sold:
			return now.state != bought, token{bought, now.placed + 1}
		case told == late:
			return now.state == bought, token{bought, now.placed + 1}
		case told == unknown:
			return now.state == absent, token{absent, now.placed + 1}
		case early[told]:
			return now.state != bought, token{free, now.placed + 1}
		}
		return false, nil // A motivo that the shop does not have is true nowhere.
	},
}
