"""What `zoco` says, in Spanish. On the left what the programs say, with `{}` where something is filled in; on the right
`{0}` is the first such thing, and `{0:say}` the same, itself in Spanish. tests/unit/test_words.py keeps it whole."""

from __future__ import annotations

from typing import Final

# What Typer, not Zoco, says: around the help, and when a command is typed wrong.
TYPER_SAYS: Final = {
    "Usage: {}": "Uso: {0}",
    "[OPTIONS]": "[OPCIONES]",
    "COMMAND [ARGS]...": "ORDEN [ARGUMENTOS]...",
    "<bool>": "",
    "<int>": "<entero>",
    "<int range>": "<entero>",
    "<float>": "<número>",
    "<float range>": "<número>",
    "<path>": "<ruta>",
    "<str>": "<texto>",
    "Arguments": "Argumentos",
    "Options": "Opciones",
    "Commands": "Órdenes",
    "Error": "Error",
    "Aborted.": "Cancelado.",
    "[default: {}]": "[si no se dice: {}]",
    "[env var: {}]": "[variable: {}]",
    "[required]": "[obligatorio]",
    "Try [blue]'{command_path} {help_option}'[/] for help.": "La ayuda: [blue]'{command_path} {help_option}'[/]",
    "Show this message and exit.": "Muestra esta ayuda.",
    "Missing argument {}.": "Falta el argumento {0}.",
    "Missing command.": "Falta la orden.",
    "No such command {}.": "No existe la orden {0}.",
    "No such command {}. Did you mean {}?": "No existe la orden {0}. ¿Querías decir {1}?",
    "No such option: {}": "No existe la opción {0}",
    "No such option: {} (Possible options: {})": "No existe la opción {0} (quizá {1})",
    "Option {} requires an argument.": "La opción {0} necesita un valor.",
    "Option {} does not take a value.": "La opción {0} no lleva valor.",
    "Got unexpected extra argument(s) ({})": "Sobra: {0}",
    "Invalid value for {}: {}": "{0} no vale: {1:say}",
    "Input should be greater than or equal to {}": "tiene que ser {0} o más",
    "Input should be a valid number, unable to parse string as a number": "tiene que ser un número",
    "Input should be a valid integer, unable to parse string as an integer": "tiene que ser un número entero",
}
# Typer fills these in itself.
TYPER_FILLS: Final = {"[default: {}]", "[env var: {}]", "Try [blue]'{command_path} {help_option}'[/] for help."}

SPANISH: Final = {
    **TYPER_SAYS,
    # The commands, and what they take.
    "Print the version, and end.": "Muestra la versión y termina.",
    "The buyer's id.": "El id de quien compra.",
    "The token's id.": "El id del token.",
    "Run the shop, buy, knock it down, and see that nothing was lost.": (
        "Arranca la tienda, compra, túmbala, y mira que nada se perdió."
    ),
    "Start RabbitMQ and the four services here, and watch them until Ctrl-C.": (
        "Arranca aquí RabbitMQ y los cuatro servicios, y cuida de ellos hasta Ctrl-C."
    ),
    "Delete all that was bought here, and start anew the next time.": (
        "Borra todo lo que se compró aquí, y la próxima vez se empieza de cero."
    ),
    "SIGKILL the real process, and `zoco up` starts it again; in a cluster, the pod that writes.": (
        "SIGKILL al proceso de verdad, y `zoco up` lo vuelve a arrancar; en un clúster, al pod que escribe."
    ),
    "Buy a token, and wait for the end. Exit code 1 when it is refused.": (
        "Compra un token y espera el final. Sale con 1 si se rechaza."
    ),
    "What waits in each queue, who consumes it, and how many dead letters there are.": (
        "Qué espera en cada cola, quién la consume, y cuántas cartas muertas hay."
    ),
    "Look at everything that may be wrong here, and say what to type. Exit code 1 when something is.": (
        "Mira todo lo que puede ir mal aquí, y dice qué teclear. Sale con 1 si algo va mal."
    ),
    "Buy at a fixed rate, and write down what was asked and what was told. Exit code 1 when an answer was wrong.": (
        "Compra a un ritmo fijo, y anota qué se pidió y qué se contestó. Sale con 1 si una respuesta fue mala."
    ),
    "Load, faults, quiet, audit: a verdict. Exit code 1: it failed; 3: a guarantee was gone, and was not missed.": (
        "Carga, fallos, calma, auditoría: un veredicto. Sale con 1: falló; con 3: quitó una garantía, y no se notó."
    ),
    "Check the thirteen promises of the design by the books.\n\n"
    "Exit code 1 when one is broken, 2 when what was named is no shop's, 3 when the books cannot be read.": (
        "Comprueba con los libros las trece promesas del diseño.\n\n"
        "Sale con 1 si alguna está rota, con 2 si lo que se nombró no es de una tienda, con 3 si los libros no se "
        "pueden leer."
    ),
    "What was looked at, and each breach in full.": "Qué se miró, y cada rotura entera.",
    "The folder of the seed's files: what it gave is checked, too.": (
        "La carpeta de los archivos de la semilla: se comprueba también lo que dio."
    ),
    "Measure Zoco beside the least that could do the same, in turn. Exit code 1 when the audit finds a breach.": (
        "Mide Zoco al lado de lo mínimo que haría lo mismo, por turnos. Sale con 1 si la auditoría halla algo roto."
    ),
    "What no service could act on: list, show, replay, discard.": (
        "Lo que ningún servicio pudo atender: verlo, darlo otra vez, tirarlo."
    ),
    "Every dead letter, oldest first in each queue.": "Todas las cartas muertas; en cada cola, la más vieja primero.",
    "One dead letter, with its headers and its body.": "Una carta muerta, con sus cabeceras y su contenido.",
    "Give a service its dead letters again (or the one with this id), after what was wrong has been mended.": (
        "Da otra vez a un servicio sus cartas muertas (o la de este id), arreglado ya lo que iba mal."
    ),
    "Throw a dead letter away for good.": "Tira una carta muerta para siempre.",
    "One of {}.": "Uno de {0}.",
    "One of {}, rabbitmq.": "Uno de {0}, rabbitmq.",
    "The folder that `zoco up` keeps everything in.": "La carpeta en que `zoco up` lo guarda todo.",
    "The front door's port, and the next three. 0: any.": (
        "El puerto de la entrada, y los tres siguientes. 0: cualquiera libre."
    ),
    "The front door; unless told, the one that runs here.": "La entrada; si no se dice, la que corre aquí.",
    "JSON instead of a table.": "JSON en vez de una tabla.",
    "In the cluster that kubectl points at.": "En el clúster al que apunta kubectl.",
    "With --kube: where Zoco is.": "Con --kube: dónde está Zoco.",
    "Do not ask.": "Sin preguntar.",
    "Keep it down so many seconds.": "Tenerlo caído tantos segundos.",
    "Idempotency-Key: the same key is the same purchase.": "Idempotency-Key: la misma clave es la misma compra.",
    "Refuse to pay more.": "No pagar más que esto.",
    "Seconds to wait for the end.": "Segundos de espera hasta el final.",
    "Again every second, until Ctrl-C.": "Otra vez cada segundo, hasta Ctrl-C.",
    "Requests a second, whatever the answers do.": "Peticiones por segundo, pase lo que pase con las respuestas.",
    "Requests; more if the last fault comes late.": "Peticiones; más, si el último fallo llega tarde.",
    "Processes that send the load, each with a journal: client.jsonl, client-2.jsonl, …": (
        "Procesos que envían la carga, cada uno con su diario: client.jsonl, client-2.jsonl, …"
    ),
    "Seconds of load.": "Segundos de carga.",
    "Buyers to register; unless told, as the mix needs.": (
        "Compradores que se dan de alta; si no se dice, los que pide la mezcla."
    ),
    "Tokens to put up for sale; as the mix needs.": "Tokens que se ponen a la venta; si no, los que pide la mezcla.",
    "The same seed: the same requests and the same faults.": "La misma semilla: las mismas peticiones y fallos.",
    "Where journal and report go; unless told, .drill/…": "Dónde van el diario y el informe; si no, .drill/…",
    "For --url: registers buyers.": "Para --url: da de alta a los compradores.",
    "Harm the shop in the cluster that kubectl points at.": "Daña la tienda del clúster al que apunta kubectl.",
    "Harm the shop that runs in --data.": "Daña la tienda que corre en --data.",
    "Take a guarantee away, to see it missed: {}.": "Quita una garantía, para ver que falta: {0}.",
    "storm: seconds from one killed service to the next.": "storm: segundos de un servicio tumbado al siguiente.",
    "Seconds that a killed process stays down.": "Segundos que un proceso tumbado sigue caído.",
    "Seconds to wait for quiet in the end: 120; with --without 30.": (
        "Segundos de espera a la calma del final: 120; con --without, 30."
    ),
    "What a client was told: its journal. For several clients again and again.": (
        "Lo que se dijo a un cliente: su diario. Con varios clientes, una y otra vez."
    ),
    "A minute and a half; rough.": "En minuto y medio; a ojo.",
    "With 1,000,000 purchases behind it.": "Con 1.000.000 de compras hechas antes.",
    "Put the tables into this file, and a plot beside it.": "Pone las tablas en este archivo, y al lado un dibujo.",
    "Where books and logs go; emptied first.": "Dónde van libros y registros; antes se vacía.",
    # The mixes and the scenarios.
    "most buy, some want what others want": "casi todos compran, algunos quieren lo que otros quieren",
    "thousands of buyers on one token": "miles de compradores de un solo token",
    "buyers who cannot pay all that they ask for": "compradores que no pueden pagar todo lo que piden",
    "keys sent again, and with changed bodies": "claves enviadas otra vez, y con otro contenido",
    "bad input among the good": "peticiones malas entre las buenas",
    "transacciones is killed three times": "transacciones cae tres veces",
    "each service is killed in turn, twice": "cae cada servicio por turno, dos veces",
    "RabbitMQ is killed twice": "RabbitMQ cae dos veces",
    "RabbitMQ is killed and its disk deleted, with messages waiting": (
        "RabbitMQ cae y se borra su disco, con mensajes en espera"
    ),
    "each service, and RabbitMQ, stands still for 3 s": "cada servicio, y RabbitMQ, se para 3 s",
    "a random service is killed every second, RabbitMQ every tenth": (
        "cae un servicio al azar cada segundo, y RabbitMQ cada diez"
    ),
    "each service finds no room on its disk for 3 s": "cada servicio se queda sin sitio en el disco 3 s",
    "the network to RabbitMQ is cut, and stalls": "la red hasta RabbitMQ se corta, y se atasca",
    # up, kill, buy, queues, dead-letters, reset
    "the page       {}": "la página      {0}",
    "   as operator {}/#operador={}": "  de operador  {0}/#operador={1}",
    "the API        {}/docs": "el API         {0}/docs",
    "management UI  {}   user {}, password {}": "RabbitMQ       {0}   usuario {1}, contraseña {2}",
    "operator       token {}": "operador       clave {0}",
    "Try, in another terminal:": "Prueba, en otra terminal:",
    "This is for one machine: everything listens on 127.0.0.1 only.\n"
    "Buyers are not authenticated yet: whoever reaches the front door buys in anybody's name.\n"
    "Ctrl-C stops it all; what was bought stays.": (
        "Esto es para una sola máquina: todo escucha solo en 127.0.0.1.\n"
        "Los compradores no se identifican todavía: quien llega a la entrada compra en nombre de cualquiera.\n"
        "Ctrl-C lo para todo; lo comprado se queda."
    ),
    "killed pod {}": "cayó el pod {0}",
    "killed pod {}, and kept {} down for {} s": "cayó el pod {0}, y {1} estuvo caído {2} s",
    "killed {} (pid {})": "{0} cayó (pid {1})",
    "killed {} (pid {}), for {} s": "{0} cayó (pid {1}), por {2} s",
    "queue": "cola",
    "waiting": "esperan",
    "consumers": "consumidores",
    "dead letters": "cartas muertas",
    "message id": "id del mensaje",
    "type": "tipo",
    "since": "desde",
    "reason": "motivo",
    "no dead letters": "no hay cartas muertas",
    "there is no dead letter {}: `zoco dead-letters list` lists them": (
        "no hay ninguna carta muerta {0}: `zoco dead-letters list` las muestra"
    ),
    "gave {} dead letters to {} again": "{0} cartas muertas dadas otra vez a {1}",
    "discarded {} dead letters of {}": "{0} cartas muertas de {1}, tiradas",
    "Delete everything in {}?": "¿Borrar todo lo que hay en {0}? (y: sí)",
    "{} is gone": "{0} ya no está",
    "answered {}: {}": "contestó {0}: {1}",
    # What is wrong, and what to do.
    "the broker or a service does not answer ({}): see `zoco doctor`": (
        "RabbitMQ o algún servicio no contesta ({0}): mira `zoco doctor`"
    ),
    "the front door does not answer ({}): is `zoco up` running?": "la entrada no contesta ({0}): ¿corre `zoco up`?",
    "the front door does not answer": "la entrada no contesta",
    "what answers at {} is no front door ({}): see --url": "lo que contesta en {0} no es la entrada ({1}): mira --url",
    "the front door cannot be asked this ({})": "esto no se le puede pedir a la entrada ({0})",
    "the broker does not answer: {}": "RabbitMQ no contesta: {0}",
    "there is no service {}: it is one of {}": "no hay ningún servicio {0}: es uno de {1}",
    "there is no {}: it is one of {}": "no hay ningún {0}: es uno de {1}",
    "there is no {} here: it is one of {}": "aquí no hay ningún {0}: es uno de {1}",
    "there is no {} {}: it is one of {}": "{0} no puede ser {1}: es uno de {2}",
    "{} is down already; it is started again by itself": "{0} ya está caído; vuelve a arrancar solo",
    "nothing runs in {}: start it with `make up`, or name its folder with --data": (
        "nada corre en {0}: arráncalo con `make up`, o di su carpeta con --data"
    ),
    "`zoco up` in {} is gone (it was pid {}): start it again with `make up`": (
        "el `zoco up` de {0} ya no está (era el pid {1}): arráncalo otra vez con `make up`"
    ),
    "cannot write in {} ({}): take another folder with --data": (
        "no se puede escribir en {0} ({1}): toma otra carpeta con --data"
    ),
    "{} is in use by `zoco up` (pid {}): stop that one, or take another folder with --data": (
        "{0} lo está usando un `zoco up` (pid {1}): páralo, o toma otra carpeta con --data"
    ),
    "{} is in use: stop its `zoco up` first": "{0} está en uso: para antes su `zoco up`",
    "{} holds {}, which is not Zoco's: nothing was deleted": "en {0} está {1}, que no es de Zoco: no se borró nada",
    "port {} ({}) is taken: stop what listens there, or choose others with --port (0: any)": (
        "el puerto {0} ({1}) está ocupado: para lo que escucha ahí, o elige otros con --port (0: cualquiera)"
    ),
    "{} not ready after {} s: the lines above say why": (
        "{0} no está listo tras {1} s: las líneas de arriba dicen por qué"
    ),
    "the shop does not start; {} ends with: {}": "la tienda no arranca; {0} acaba con: {1}",
    "kubectl is missing: install it, https://kubernetes.io/docs/tasks/tools/": (
        "falta kubectl: instálalo, https://kubernetes.io/docs/tasks/tools/"
    ),
    "{} (is Zoco there? `make deploy`; elsewhere? --namespace)": (
        "{0} (¿está ahí Zoco? `make deploy`; ¿en otro sitio? --namespace)"
    ),
    "no pod of {} runs in namespace {}: `kubectl get pods` shows why": (
        "ningún pod de {0} corre en el namespace {1}: `kubectl get pods` dice por qué"
    ),
    "no pod of {} writes at the moment: try again in a second": (
        "ningún pod de {0} escribe en este momento: inténtalo en un segundo"
    ),
    "kubectl port-forward: {}": "kubectl port-forward: {0:say}",
    "it ended without a word": "acabó sin decir nada",
    "RabbitMQ is not installed: run `apt-get install rabbitmq-server` (Debian, Ubuntu) or `brew install rabbitmq` "
    "(macOS), or set ZOCO_RABBITMQ_URL to a running one.": (
        "RabbitMQ no está instalado: `apt-get install rabbitmq-server` (Debian, Ubuntu) o `brew install rabbitmq` "
        "(macOS), o pon en ZOCO_RABBITMQ_URL uno que corra."
    ),
    "{} needs Erlang's `epmd`, which is not in the PATH: install Erlang.": (
        "{0} necesita el `epmd` de Erlang, que no está en el PATH: instala Erlang."
    ),
    "RabbitMQ in {} already runs (pid {}).": "RabbitMQ ya corre en {0} (pid {1}).",
    "RabbitMQ in {} runs (pid {}): stop or kill it before its disk.": (
        "RabbitMQ corre en {0} (pid {1}): páralo o túmbalo antes que su disco."
    ),
    "RabbitMQ in {} was not started.": "RabbitMQ no se arrancó en {0}.",
    "RabbitMQ is not ready after {} s. {}": "RabbitMQ no está listo tras {0} s. {1}",
    "RabbitMQ ended while it started (code {}). {}": "RabbitMQ acabó mientras arrancaba (código {0}). {1}",
    "RabbitMQ cannot start: port {} is taken. Stop what listens there.": (
        "RabbitMQ no puede arrancar: el puerto {0} está ocupado. Para lo que escucha ahí."
    ),
    "epmd ended while it started (code {}); is {} taken?": "epmd acabó mientras arrancaba (código {0}); ¿{1} ocupado?",
    # doctor
    "ok  ": "bien",
    "BAD ": "MAL ",
    "{} (without rabbitmqctl)": "{0} (sin rabbitmqctl)",
    "data folder": "carpeta de datos",
    "{} cannot be written: `chown` it, or name another with --data": (
        "en {0} no se puede escribir: `chown`, o di otra con --data"
    ),
    "only {} MiB are free below {}: make room": "solo quedan {0} MiB en {1}: haz sitio",
    "{}, {} GiB free": "{0}, quedan {1} GiB",
    "ports": "puertos",
    "{} taken: stop what listens there, or start with --port (0: any that are free)": (
        "{0} ocupado: para lo que escucha ahí, o arranca con --port (0: cualquiera libre)"
    ),
    "{} to {} are free": "libres del {0} al {1}",
    "does not answer at {}: the lines of `zoco up` say why": (
        "no contesta en {0}: las líneas de `zoco up` dicen por qué"
    ),
    "its disk is full, and a batch waits for room": "su disco está lleno, y un lote espera sitio",
    "the broker: {}": "RabbitMQ: {0}",
    "{}, {} records": "{0:say}, {1} apuntes",
    "writer": "escribe",
    "follower": "sigue",
    "broker": "RabbitMQ",
    "no connection ({}): `zoco kill rabbitmq` starts it anew": (
        "sin conexión ({0}): `zoco kill rabbitmq` lo arranca de nuevo"
    ),
    "queue {}": "cola {0}",
    "queues": "colas",
    "all {} answer": "contestan las {0}",
    "is a zombie: it neither takes nor delivers anything, as after a broker that was killed just when it was "
    "made. No purchase is lost: the nudge asks again for what it held. Delete it at {}/#/queues/%2F/{}; "
    "its service makes it anew": (
        "es un zombi: ni recibe ni entrega nada, como cuando matan al broker justo al hacer la cola. No se pierde "
        "ninguna compra: lo que tenía se pide otra vez. Bórrala en {0}/#/queues/%2F/{1}; su servicio la hace de nuevo"
    ),
    "{}: it is made again at the next reconnect": "{0}: se hace otra vez en la próxima conexión",
    "alarms": "alarmas",
    "none": "ninguna",
    "not looked at: the broker is not Zoco's own": "no se miraron: este RabbitMQ no es de Zoco",
    "the management API does not answer: `zoco kill rabbitmq` starts it anew": (
        "el API de administración no contesta: `zoco kill rabbitmq` lo arranca de nuevo"
    ),
    "memory alarm: nobody may publish. Give the broker memory, or let queues drain": (
        "alarma de memoria: nadie puede publicar. Da memoria a RabbitMQ, o deja que se vacíen las colas"
    ),
    "disk alarm: nobody may publish. Make room where the data folder is": (
        "alarma de disco: nadie puede publicar. Haz sitio donde está la carpeta de datos"
    ),
    # load and drill
    "buyers and tokens are registered by the operator: give --operator-token with --url": (
        "compradores y tokens los da de alta el operador: con --url da también --operator-token"
    ),
    "{} is another load's: take another folder with --out": "{0} es de otra carga: toma otra carpeta con --out",
    "a guarantee can be taken away only from a shop of the drill's own: leave out --here and --kube": (
        "una garantía solo se quita a una tienda del propio simulacro: deja --here y --kube"
    ),
    "--here is a shop on this machine and --kube one in a cluster: leave one of them out": (
        "--here es una tienda de esta máquina y --kube una de un clúster: quita una de las dos"
    ),
    "{} cannot be done to pods: with --kube it is one of {}": "{0} no se puede hacer a pods: con --kube es uno de {1}",
    "{} cannot be done to pods: leave out --kube": "{0} no se puede hacer a pods: quita --kube",
    "no pod of compras answers in {} s: `kubectl get pods`": (
        "ningún pod de compras responde en {0} s: `kubectl get pods`"
    ),
    "--quick and --long are two lengths of the same: give one": "--quick y --long son dos medidas de lo mismo: da una",
    "CPU is read from /proc, which only Linux has: run the bench there": (
        "la CPU se lee de /proc, que solo Linux tiene: mide allí"
    ),
    "{} is no bench's folder: take another one with --out": "{0} no es una carpeta de medidas: toma otra con --out",
    "audit: lost {}, doubled {}, oversold {}": "auditoría: perdidas {0}, dobles {1}, vendidas de más {2}",
    # bench
    "starting RabbitMQ ...": "arrancando RabbitMQ ...",
    "starting a shop ...": "arrancando una tienda ...",
    "{}: {} (warming up)": "{0}: {1} (calentando)",
    "latency at {}/s ...": "latencia a {0}/s ...",
    "purchases so far: {}": "compras hasta ahora: {0}",
    "{} started in {} s": "{0} arrancó en {1} s",
    "FastStream is not installed: `make bench` does it": "FastStream no está instalado: lo instala `make bench`",
    "{}, {} processors, {}, Python {}.": "{0}, {1} procesadores, {2}, Python {3}.",
    "figure": "medida",
    "against": "frente a",
    "goal": "meta",
    "measured": "medido",
    "ours": "lo nuestro",
    "baseline": "lo otro",
    "to": "a",
    "missed": "no llega",
    "the same": "lo mismo",
    "the same, p99": "lo mismo, p99",
    "purchases, POST to `registrada`": "compras, del POST a `registrada`",
    "raw relay on aiormq's public API": "un relevo desnudo, con el API público de aiormq",
    "raw relay that batches its writes": "un relevo desnudo que escribe por lotes",
    "`POST /compras`, in the journal when answered": "`POST /compras`, en el diario al contestar",
    "bare front door": "una entrada desnuda",
    "draining transacciones, answers published": "vaciar la cola de transacciones, publicadas las respuestas",
    "raw drain on aiormq's public API": "un vaciado desnudo, con el API público de aiormq",
    "raw drain that batches its writes": "un vaciado desnudo que escribe por lotes",
    "FastStream, same safety": "FastStream, igual de seguro",
    "latency POST to `registrada` at a third of the top rate, p50": (
        "latencia del POST a `registrada` a un tercio del ritmo máximo, p50"
    ),
    "`GET /tokens`, 1,000 tokens": "`GET /tokens`, 1.000 tokens",
    "route that returns ready bytes": "una ruta que devuelve bytes ya hechos",
    "CPU per purchase, all processes, at the top rate": "CPU por compra, todos los procesos, al ritmo máximo",
    "at a third of it": "a un tercio de él",
    "CPU per purchase, late": "CPU por compra, al final",
    "early": "al principio",
    "memory of the largest service then": "memoria del servicio más grande entonces",
    "start of the slowest service with all that behind it": "arranque del servicio más lento con todo eso hecho",
    "CPU per buyer, all on one token": "CPU por comprador, todos por un token",
    "a hundred buyers on each": "cien compradores por cada uno",
    "backlog {}": "{0} en espera",
    "{}/s for {} s": "{0}/s durante {1} s",
    "{} buyers": "{0} compradores",
    "{} purchases": "{0} compras",
    "the {}th against the {}th": "la {0}ª frente a la {1}ª",
    "CPU per purchase in µs:": "CPU por compra en µs:",
    "all": "todos",
    "zoco, at the top rate": "zoco, al ritmo máximo",
    "zoco, at a third of it": "zoco, a un tercio de él",
    # report
    "Requests a second": "Peticiones por segundo",
    "due": "debidas",
    "unanswered or 503": "sin respuesta o 503",
    "Latency, from the instant at which a request was due": "Latencia, desde el instante en que tocaba la petición",
    "202, median": "202, mediana",
    "end, median": "final, mediana",
    "end, 99 %": "final, 99 %",
    "Backlog: due, and not at its end": "En camino: debidas, y sin su final",
    "Red lines: the faults; rest the pointer on one to read it.": (
        "Líneas rojas: los fallos; deja el puntero sobre una para leerla."
    ),
    "starting a shop of its own ...": "arrancando una tienda propia ...",
    "registering buyers and tokens ...": "dando de alta compradores y tokens ...",
    "auditing ...": "auditando ...",
    "{} requests, {}/s; accepted {}, finished {}, backlog {}; {}": (
        "{0} peticiones, {1}/s; aceptadas {2}, terminadas {3}, en camino {4}; {5:say}"
    ),
    "{} ms to 202 (p99)": "{0} ms hasta el 202 (p99)",
    "no answers": "sin respuestas",
    "requests": "peticiones",
    "{}: accepted {}, rejected {}": "{0}: aceptadas {1}, devueltas {2}",
    "finished": "terminadas",
    "sold {}, refused {}, not finished {}": "vendidas {0}, rechazadas {1}, sin terminar {2}",
    "POST to 202": "POST al 202",
    "POST to end": "POST al final",
    "backlog": "en camino",
    "at most {}, drained {} s after the last request": "a lo más {0}, vacío {1} s después de la última petición",
    "given up": "abandonadas",
    "wrong": "mal",
    "nothing to measure": "nada que medir",
    "journal and report: {} {}": "diario e informe: {0} {1}",
    "books, journal and report: {}": "libros, diario e informe: {0}",
    "all promises hold": "se cumplen todas las promesas",
    "FAILED": "FALLÓ",
    "load": "carga",
    "{} requests, {} a second, mix {}, seed {}": "{0} peticiones, {1} por segundo, mezcla {2}, semilla {3}",
    "faults": "fallos",
    "accepted": "aceptadas",
    "{}: sold {}, refused {}": "{0}: vendidas {1}, rechazadas {2}",
    "lost": "perdidas",
    "doubled": "dobles",
    "oversold": "vendidas de más",
    "money": "dinero",
    "exact": "exacto",
    "wrong for {} users": "mal en {0} usuarios",
    "services": "servicios",
    "{} back": "{0:say} de vuelta",
    "the network": "la red",
    "after {}": "tras {0}",
    "longest pause": "pausa más larga",
    "{} from one sale to the next": "{0} de una venta a la siguiente",
    "memory": "memoria",
    "{} MB in the first quarter, {} in the last": "{0} MB en el primer cuarto, {1} en el último",
    "open files": "archivos abiertos",
    "{} in the first quarter, {} in the last": "{0} en el primer cuarto, {1} en el último",
    "what 0 means": "qué dice el 0",
    "none of {} purchases under way: under faults like these, at most {} at 95 % confidence": (
        "ninguna de {0} compras en camino: con fallos como estos, a lo más {1} con un 95 % de confianza"
    ),
    "nothing: no purchase was under way during a fault": "nada: no había ninguna compra en camino durante un fallo",
    "under way": "alcanzadas",
    "{} purchases, while a fault lasted or until the shop was back": (
        "{0} compras, mientras duraba un fallo o hasta que la tienda volvió"
    ),
    "of these": "de ellas",
    "{}, {}, {} times: {} purchases under way{}": "{0}, {1:say}, {2} veces: {3} compras en camino{4:say}",
    ", so at most {}": ", así que a lo más {0}",
    "proved nothing": "no probaron nada",
    "{} faults met no purchase": "{0} fallos no alcanzaron ninguna compra",
    "{}: it met no purchase, and proved nothing": "{0}: no alcanzó ninguna compra, y no probó nada",
    "not back": "sin volver",
    "{} faults: {}": "{0} fallos: {1:say}",
    "nothing was sold after it": "tras él no se vendió nada",
    "no purchase ended after it": "tras él no terminó ninguna compra",
    "{} requests were given up: not accepted in {} s": "{0} peticiones abandonadas: sin aceptar en {1} s",
    "audit": "auditoría",
    "client": "cliente",
    "sent {} requests a second of {}, later than due by {}": "envió {0} peticiones por segundo de {1}, con retraso {2}",
    "NO LATENCY": "SIN LATENCIAS",
    "at most {}": "a lo más {0}",
    "the client is too slow": "el cliente es demasiado lento",
    "the client was too slow: it reached {} of {} requests a second": (
        "el cliente fue demasiado lento: llegó a {0} de {1} peticiones por segundo"
    ),
    "the client was too slow: it sent {} ms (p99) later than it should": (
        "el cliente fue demasiado lento: envió {0} ms (p99) más tarde de lo debido"
    ),
    "the client ran out of descriptors": "al cliente se le acabaron los descriptores",
    "the client ran out of ports": "al cliente se le acabaron los puertos",
    "worker {} of the load ended with exit code {} before it had sent its share": (
        "el proceso {0} de la carga terminó con código {1} antes de enviar su parte"
    ),
    "{} requests, accepted {}; {}": "{0} peticiones, aceptadas {1}; {2:say}",
    "{} was answered {}": "a {0:say} se contestó {1}",
    "{} was answered {} with {}": "a {0:say} se contestó {1} con {2:say}",
    "a good request": "una petición buena",
    "null": "null",
    "no id": "una respuesta sin id",
    "a list": "una lista",
    "a number": "un número",
    "what is no JSON object": "algo que no es un objeto JSON",
    "without {}: {}": "sin {0}: {1:say}",
    "without": "sin",
    "{}: promise {} must be broken; {}": "{0}: tiene que romperse la promesa {1}; {2:say}",
    "it was missed by its own promise: the drill fails, as it should": (
        "su propia promesa notó su falta: el simulacro falla, como debe"
    ),
    "IT WAS NOT MISSED BY ITS OWN PROMISE: the drill failed for another reason, which shows nothing": (
        "SU PROPIA PROMESA NO NOTÓ SU FALTA: el simulacro falló por otra razón, y eso no muestra nada"
    ),
    "IT WAS NOT MISSED: the audit is blind, or nothing went wrong": (
        "NO SE NOTÓ SU FALTA: la auditoría está ciega, o nada fue mal"
    ),
    "promise {} is broken: {}": "la promesa {0} está rota: {1:say}",
    "promise {} was not checked: {}": "la promesa {0} no se comprobó: {1:say}",
    "{} ({} times)": "{0:say} ({1} veces)",
    "Porcupine (needs Go) judges what clients were told, too.": (
        "Porcupine (necesita Go) juzga también lo que se dijo a los clientes."
    ),
    "not checked by Porcupine: {}": "Porcupine no lo comprobó: {0:say}",
    "{} histories that cannot be true": "{0} historias que no pueden ser ciertas",
    "{} purchases of {} tokens: what each client was told can be true": (
        "{0} compras de {1} tokens: lo que se dijo a cada cliente puede ser cierto"
    ),
    "Go is missing: install it (https://go.dev/dl)": "falta Go: instálalo (https://go.dev/dl)",
    "it cannot be built: {}": "no se puede construir: {0:say}",
    "it ended with exit code {}: {}": "terminó con el código {0}: {1:say}",
    "no reason given": "sin decir por qué",
    "{} cannot be opened: name a client's journal": "no se puede abrir {0}: di el diario de un cliente",
    "{} has a newer format than Porcupine's reader knows": (
        "{0} tiene un formato más nuevo que el que conoce el lector de Porcupine"
    ),
    "{} is of another shop than the journals before it": "{0} es de otra tienda que los diarios anteriores",
    "{}, line {} is no whole line of a client's journal": (
        "{0}, línea {1} no es una línea entera del diario de un cliente"
    ),
    "purchase {} was told two ends: {}": "a la compra {0} se le dijeron dos finales: {1}",
    "purchase {} was told its end before it was asked for": (
        "a la compra {0} se le dijo su final antes de que se pidiera"
    ),
    "token {}: purchase {} was told {} before anybody asked for {}, which was told {}: that cannot both be true": (
        "token {0}: a la compra {1} se le dijo {2} antes de que nadie pidiera {3}, a la que se le dijo {4}: "
        "no puede ser cierto lo uno y lo otro"
    ),
    "token {}: purchase {} was told {}, which fits none of the {} purchases of this token": (
        "token {0}: a la compra {1} se le dijo {2}, lo que no encaja con ninguna de las {3} compras de este token"
    ),
    "{} ends early, at line {}: its client may have asked for more": (
        "{0} acaba antes de tiempo, en la línea {1}: su cliente pudo pedir más"
    ),
    "{} tokens, which was too much for it, as token {} with {} purchases": (
        "{0} tokens, que fueron demasiado para él, como el token {1} con {2} compras"
    ),
    "no client asked for anything": "ningún cliente pidió nada",
    "Let Porcupine judge what the clients of one shop were told.": (
        "Deja que Porcupine juzgue lo que se dijo a los clientes de una tienda."
    ),
    "Each client's journal.": "El diario de cada cliente.",
    "Nobody else ever asked for their tokens.": "Nadie más pidió nunca sus tokens.",
    "the end of {} of {} purchases was not seen": "no se vio el final de {0} de {1} compras",
    "nothing was sold, so nothing was proved": "no se vendió nada, así que nada quedó probado",
    "the books cannot be read: {}": "los libros no se pueden leer: {0:say}",
    "not quiet after {} s: {}": "sin calma tras {0} s: {1:say}",
    "{} purchases and entries on their way; messages waiting: {}; not ready: {}": (
        "{0} compras y altas en camino; mensajes en espera: {1:say}; sin estar listos: {2:say}"
    ),
    "not accepted in {} s: {}": "sin aceptar en {0} s: {1:say}",
    "no answer": "sin respuesta",
    "{} {} was not accepted in {} s": "{0} {1} no se aceptó en {2} s",
    "there was no {} to kill in {} s: {}": "en {1} s no hubo ningún {0} que tumbar: {2:say}",
    "there was no {} in {} s": "en {1} s no hubo ningún {0}",
    "there is no disk of RabbitMQ in {}: it is not ours to wipe": (
        "en {0} no hay ningún disco de RabbitMQ: no es nuestro para borrarlo"
    ),
    "a disk can be made full on Linux only": "solo en Linux se puede llenar un disco",
    "--every is for the scenario storm: {} has its own times": (
        "--every es para el escenario storm: {0} tiene sus propios tiempos"
    ),
    "the network can be cut only in a shop that the drill starts itself: leave out --here": (
        "la red solo se corta en una tienda que arranca el propio simulacro: deja --here"
    ),
    # audit
    "promise": "promesa",
    "breaches": "roturas",
    "not checked: {}": "sin comprobar: {0:say}",
    "the queues were not looked at": "no se miraron las colas",
    "the services were not asked": "no se preguntó a los servicios",
    "no client's journal was given": "no se dio el diario de ningún cliente",
    "accepted {}, sold {}, refused {}": "aceptadas {0}, vendidas {1}, rechazadas {2}",
    "lost {}, doubled {}, oversold {}": "perdidas {0}, dobles {1}, vendidas de más {2}",
    "promise {}: {} more": "promesa {0}: {1} más",
    "promise {}: {}: {}": "promesa {0}: {1:say}: {2:say}",
    "money: balances and the prices of what was sold are what was there and what was added": (
        "dinero: los saldos y los precios de lo vendido son lo que había y lo que se añadió"
    ),
    "no balance below zero": "ningún saldo bajo cero",
    "a token has at most one buyer": "un token tiene a lo más un comprador",
    "every purchase that was accepted reaches exactly one end": "cada compra aceptada llega a un solo final",
    "one record for each confirmed purchase, none for another, numbered without gaps": (
        "un registro por compra confirmada, ninguno por otra, numerados sin huecos"
    ),
    "confirmed means token sold to that buyer and money taken once; refused means neither": (
        "confirmada: el token vendido a quien compró y cobrado una vez; rechazada: ni lo uno ni lo otro"
    ),
    "no effect without its message": "ningún efecto sin su mensaje",
    "what a journal comes to is what the service answers": "lo que suma un diario es lo que contesta su servicio",
    "one effect per message id": "un efecto por id de mensaje",
    "one buyer and key: one purchase, one answer": "un comprador y una clave: una compra, una respuesta",
    "dead letters are empty": "no hay cartas muertas",
    "what each client was told agrees with the books": "lo que se dijo a cada cliente está de acuerdo con los libros",
    "who asked before the winner was refused for a reason of their own, or found the line full": (
        "quien pidió antes que el ganador fue rechazado por un motivo propio, o halló la fila llena"
    ),
    "not checked in part: {}": "sin comprobar en parte: {0:say}",
    "records decided again": "apuntes decididos otra vez",
    "fields compared": "campos comparados",
    "reasons proved": "motivos probados",
    "answers compared": "respuestas comparadas",
    "rows compared": "filas comparadas",
    "about": "sobre",
    "why": "por qué",
    "book": "libro",
    "where": "dónde",
    "field": "campo",
    "stands": "dice",
    "rules": "reglas",
    # What an audit finds.
    "user {}": "usuario {0}",
    "event {}": "evento {0}",
    "{}: {} is {}, by the rules {}": "{0:say}: {1} es {2}, según las reglas {3}",
    "{}, see {}": "{0:say}, véase {1}",
    "this record makes no sense": "este apunte no tiene sentido",
    "this record is about another row": "este apunte va de otra fila",
    "no seed can bring this": "ninguna semilla puede traer esto",
    "no correct shop acts on this: {}": "ninguna tienda correcta actúa por esto: {0:say}",
    "nobody holds this token": "nadie tiene apartado este token",
    "another purchase holds this token": "otra compra tiene apartado este token",
    "this token is sold already": "este token ya está vendido",
    "the price that was paid is not the one at which it was held": "el precio pagado no es el de cuando se apartó",
    "nobody asked for this": "nadie lo pidió",
    "no such request is accepted": "ninguna petición así se acepta",
    "it was paid and refused": "se pagó y se rechazó",
    "it was sold and refused": "se vendió y se rechazó",
    "the record does something else than its message": "el apunte hace otra cosa que su mensaje",
    "no clock of this shop showed that time then": "ningún reloj de esta tienda daba esa hora entonces",
    "it was acted on before": "ya se había actuado por ello",
    "it was decided before": "ya se había decidido",
    "it was sold before": "ya se había vendido",
    "the balance is below zero": "el saldo está bajo cero",
    "nobody said this": "nadie lo dijo",
    "this was acted on before anybody had said it": "se actuó por ello antes de que nadie lo dijera",
    "this was said, and who should hear it never acted on it": "se dijo, y quien debía oírlo nunca actuó por ello",
    "it was accepted, and has no end": "se aceptó, y no tiene final",
    "its end is not what tokens decided": "su final no es lo que decidió tokens",
    "what was given is not what is there and what was spent": "lo que se dio no es lo que hay y lo que se gastó",
    "the seed has something else": "la semilla tiene otra cosa",
    "what the seed gave is believed: name its files with --seed": (
        "lo que dio la semilla se cree: di sus archivos con --seed"
    ),
    "there are dead letters: `zoco dead-letters list` shows why": (
        "hay cartas muertas: `zoco dead-letters list` dice por qué"
    ),
    # What services show, and what clients were told.
    "nobody was asked for {}": "a nadie se le preguntó por {0}",
    "it is shown twice": "se muestra dos veces",
    "it is shown, and is not in the journal": "se muestra, y no está en el diario",
    "it is in the journal, and is not shown": "está en el diario, y no se muestra",
    "another value is shown than the journal has": "se muestra otro valor que el del diario",
    "another event is shown than the journal has": "se muestra otro evento que el del diario",
    "they are not shown in their order": "no se muestran en su orden",
    "a client's journal ends early: what came later is not known": (
        "el diario de un cliente acaba antes de tiempo: no se sabe lo que vino después"
    ),
    "the clients' journals are empty": "los diarios de los clientes están vacíos",
    "no client says what it was promised: a purchase that compras forgot is not seen": (
        "ningún cliente dice lo que se le prometió: no se ve una compra que compras olvidara"
    ),
    "bad input was not refused": "no se rechazó una mala petición",
    "a good request was answered with an error": "a una buena petición se contestó con un error",
    "a good request was accepted with a strange answer": "una buena petición se aceptó con una respuesta extraña",
    "it was told that its key is used, and no purchase has it": (
        "se le dijo que su clave ya se usó, y ninguna compra la tiene"
    ),
    "it was told that its key is used for something else, and it is this": (
        "se le dijo que su clave ya se usó para otra cosa, y es para esta"
    ),
    "this key of this buyer makes another purchase": "esa clave de quien compra hace otra compra",
    "it was accepted, and compras has no such purchase": "se aceptó, y compras no tiene esa compra",
    "its end was seen, and compras has no such purchase": "se vio su final, y compras no tiene esa compra",
    "its end was seen, and the book has another": "se vio su final, y el libro tiene otro",
    "the book has something else than was asked for": "el libro tiene otra cosa que lo pedido",
    "the process that reads compras' book was ended: it had too little memory": (
        "se acabó el proceso que lee el libro de compras: le faltó memoria"
    ),
    "some dates are far from the records around them: the clock at compras was set, or they are wrong": (
        "algunas fechas distan de los registros que las rodean: se cambió el reloj de compras, o son falsas"
    ),
    "200 is for what is over, 202 for what is under way": "200 es para lo acabado, 202 para lo que sigue en curso",
    "no purchase looks like this": "ninguna compra es así",
    "it was told what never was": "se le dijo lo que nunca fue",
    "it was told less than before": "se le dijo menos que antes",
    # What cannot be read.
    "{} answered {}: give the operator's token of this shop": (
        "{0} contestó {1}: da la clave del operador de esta tienda"
    ),
    "{} ended inside a record: ask again": "{0} acabó a mitad de un apunte: pídelo otra vez",
    "{} is damaged: its checksum is wrong": "{0} está dañado: su suma no cuadra",
    "{} is no record that this audit knows: {}": "{0} no es un apunte que esta auditoría conozca: {1}",
    "{}:1 is damaged: its checksum is wrong": "{0}:1 está dañado: su suma no cuadra",
    "{}:1 is no header that this audit knows: {}": "{0}:1 no es una cabecera que esta auditoría conozca: {1}",
    "{} has no header, and the journal goes on behind it": "{0} no tiene cabecera, y el diario sigue detrás",
    "{} has format {}; this audit reads {}": "{0} tiene el formato {1}; esta auditoría lee el {2}",
    "{} has format {}; this audit reads {}: use the audit of that version": (
        "{0} tiene el formato {1}; esta auditoría lee el {2}: usa la auditoría de esa versión"
    ),
    "{} lacks {}": "a {0} le falta {1:say}",
    "a segment with a header": "un segmento con cabecera",
    "{} cannot be read ({}): name it with --client": "{0} no se puede leer ({1}): dilo con --client",
    "{} cannot be read ({}): read it as who wrote it": "{0} no se puede leer ({1}): léelo como quien lo escribió",
    "{} is no seed ({}): name the folder of the seed's files": (
        "{0} no es una semilla ({1}): di la carpeta de los ficheros de la semilla"
    ),
    "{} is no list of rows with ids, and so no seed: name the folder of the seed's files": (
        "{0} no es una lista de filas con id, y por eso no es una semilla: di la carpeta de sus ficheros"
    ),
    "{} cannot be read ({}): read it as who runs the shop": (
        "{0} no se puede leer ({1}): léelo como quien lleva la tienda"
    ),
    "{} has none of the folders {}: name a shop's folder with --data": (
        "{0} no tiene ninguna de las carpetas {1}: di la de una tienda con --data"
    ),
    "there is no journal in {}: the book is missing": "en {0} no hay diario: falta el libro",
    "{} is missing, and {} says that it was written": "falta {0}, y {1} dice que se escribió",
    "{} ends at byte {}, and {} bytes of it were written: it is damaged": (
        "{0} acaba en el byte {1}, y se escribieron {2}: está dañado"
    ),
    "{}: the journal is not what was written": "{0:say}: el diario no es lo que se escribió",
    "{} goes on behind record {} of {}, and the journal before it ends with record {} of {}": (
        "{0} sigue tras el apunte {1} de {2}, y el diario antes de él acaba con el apunte {3} de {4}"
    ),
    "{} is record {}, and record {} is due": "{0} es el apunte {1}, y toca el {2}",
    "{} is of batch {} and {}, and follows batch {} of {}": "{0} es del lote {1} y de {2}, y sigue al lote {3} de {4}",
    "{} is of {}, and its batch of {}": "{0} es de {1}, y su lote de {2}",
    "{} is the first segment, and begins behind record {}": "{0} es el primer segmento, y empieza tras el apunte {1}",
    "{} says that it is {} of {}": "{0} dice que es {1} de {2}",
    "{} says that it was begun at {}": "{0} dice que se empezó en {1}",
    "{} is of another shop: its first record is of {}, and here of {}": (
        "{0} es de otra tienda: su primer apunte es de {1}, y aquí de {2}"
    ),
    "{}, line {} is cut off: the client died while it wrote; cut that line off": (
        "{0}, la línea {1} está cortada: el cliente murió mientras escribía; quita esa línea"
    ),
    "{}, line {} cannot be read: {}": "{0}, la línea {1} no se puede leer: {2}",
    "{}, line {} cannot be read: it is no note of a client": (
        "{0}, la línea {1} no se puede leer: no es un apunte de un cliente"
    ),
}
