import { classOf, DIGIT, isWordClass, LOWER, UPPER } from '../characters.ts'
import type { Span } from './recogniser.ts'

/**
 * Words that are written with a capital for where they stand, or that name nobody: not by themselves the name of a person, a
 * place or a firm.
 */
const ORDINARY = new Set(
  `a about above according accounts after again all also although am an and another any anyone anything are as ask at be because
been before being below best between bot both but by call can cancel card change check client clients come company could
customer customers date dear describe did do does don done during each either email enter error even every everyone example
failed fast few fill find first for found from full further get give given go good got great had has have having he hello help
hence her here hers hey hi his how however i if in indeed info instead into is it its just keep kind last late later learn
least leave less let like list listen load log look made mail make many may maybe me might mine more most much must my name
near need never new next no none nor not note nothing now of off offer ok okay old on once one only open or order other our
ours out over own pay payment perhaps phone please policy quick quite rather read really reply request result right said same
save say see seems send sent set several shall she should show simply since so some someone something sorry soon still stop
submit subject such sure system take tell than thank thanks that the their them then there therefore these they thing this
those though through thus time to today together tomorrow tonight too total transfer try turn two under unless unlike until up
update upon us use used user using very via wait want was watch we welcome well were what whatever when whenever where whether
which while who whom whose why will with within without would write yes yesterday yet you your yours agent assistant question
answer hmm oh wow yeah nope regards sincerely cheers best dearest attention warning notice important urgent summary details
status type number id address city state country zip account balance amount currency transaction transactions total bank
january february march april may june july august september october november december monday tuesday wednesday thursday friday
saturday sunday jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun am pm
json xml html http https api sql url uri uuid csv pdf sdk cpu gpu ram utc gmt iso ascii utf true false null none todo fixme
action active adult adventure afternoon age animal animation annual army art article artist association author award baby back bad
ball band base bed bell big bird black blood blue board body book border boss box boy brand bridge brother brown budget building
business button camera camp candidate capital captain carry cat cause cautionary center central century ceo ceos chair chairman
chance chief child children chocolate christmas church circle class classic clean clear clinic clock close cloud club coach coast
coffee cold college color comedy comment committee common community complete computer concert conference contract control cook
copy corner corporate council court cousin cover crazy credit crew crime crop cross crown culture daily dance danger dark data
daughter dead deal death debit deep defense delivery demand department design desk devil dimension dimensions dinner director
discipline discount doctor dog dollar door double draft dragon drama dream dress drink drive driver due duty early earth east
eastern easter economy edition editor education eight election electric else emergency employee end energy engine engineer
english entertainment evening event evil exchange executive express eye face fact fair faith fall false fame family fantasy
farm fashion father favorite feature federal field fight file film final finance fine fire fish five flight floor flower fly
food foot football force foreign forest forever form forum four free freedom fresh friend front fun fund future gallery game
garden gas gate general gentleman ghost gift girl glass global god gold golden government grand grant gray great green ground
group guard guest guide guilty gun guy hair half hall hand happy hard hate head health hear heart heat heaven heavy hell hero
high hill history hit hobbits hold hole holiday holy home honor hope horror horse hospital hot hotel hour house huge human
hundred husband ice idea image independent index indie industry inject inside insight insights instant insurance interest
interesting international internet interview iron island issue jazz job join joint judge jump junior jury justice key kid kids
kill killed killer kind king kiss kitchen knight knock labor ladies land language large laser laugh law lead leader league left
legal lesson letter level liberty library life light line lion literature little live living loan local lock long lord lost lot
loud love low luck lunch machine magazine magic main major man manager map market marriage master match material matter medal
media medical meet member memory men message metal middle midnight military million mind minister minute mirror mission model
modern moment money monster month monthly moon moral morning mother mountain mouth move movie murder museum music musical
musician musicians mystery nation national natural nature navy neck network news night nine noise noon normal north northern
novel number nurse object ocean office officer official oil online opera operation opinion orange orchestra organization
original outside owner package page paid pain paint pair palace paper paradise parent park part partner party pass passion past
path peace peak pedestrians pen people perfect performance period person personal phase photo piano picture piece pink place
plain plan planet plant play player pleasure pleasures plus poem poet point police political poor pop popular position post
power powerful practice premier present president press price pride prime prince princess prison private prize problem process
producer product professional professor program project property proud public pure purple queen question race radio rain ready
real reason record records red regional register remember report republic research reserve rest restaurant return revenue rich
ride ring rise risk river road rock role roll romance room rose round royal rule run running sad safe sale sales salesperson
salt sand save school science scientist score sea season second secret secretary secretly section security self senior sense
series serious service session seven sex shadow shape share shark shine ship shock shoe shop short shot side sign signal silver
sing singer single sister site six size skin sky sleep slow small smart smile smoke snake snow social society soft soldier
solution son song soul sound south southern space speak special speed spirit sport spring staff stage stand standard star start
state statement station steel step stone store storm story strange stranger stream street strength strike stripes strong
student studio study style success sugar suite summer sunday sunset super supposed support surprise suspense sweet table tale
tales talk tall target task taste tax teacher team tech technology teenager television ten term test text theater theory third
thousand three thriller ticket tiger title top tour tower town trade traditional traffic train training travel treasure treaty
tree trial trip trouble truck true trust truth tube tv type ultimate uncle union unique unit united universe university upper
users vacation valley value version victory video view village violence vision visit voice volume vote walk wall war warm
warrior water wave way weak wealth weapon wear weather web website wedding week weekend weekly weird west western wheel white
whole wide wife wild wind window wine winner winter wisdom wish witch wolf woman wonder wood word work worker working world
worst wrong written yard year yellow young youth zero zone
iban bic swift ssn vat tin pin cvv atm kyc aml sar gdpr pci dss usd eur gbp chf jpy sek nok dkk`
    .split(/\s+/)
    .filter((word) => word !== ''),
)
const TITLES = new Set(
  'mr mrs ms miss dr prof sir dame lord lady mx herr frau mme mlle señor señora signor signora'.split(
    ' ',
  ),
)
/** Between two parts of one name. */
const JOINTS = new Set(
  'de del della di da do dos du von van der den la le el al bin ibn ter ten zu'.split(' '),
)

const possessive = (word: string): number =>
  word.endsWith("'s") || word.endsWith('\u2019s') ? 2 : 0
const APOSTROPHE = /['\u2019]/
const CONTRACTION = /['\u2019](?:s|m|d|t|ll|re|ve)$/
const FOREIGN = /[^\0-\x7f]/

interface Word {
  readonly start: number
  /** Without the punctuation after it. */
  readonly end: number
  readonly text: string
  readonly make: 'name' | 'title' | 'initial' | 'number' | 'joint' | 'ordinary' | 'other'
  /** It begins a sentence, or a line. */
  readonly initial: boolean
  /** Something after it ends a phrase. */
  readonly last: boolean
}

/**
 * Names of people, places and firms by how they are written: words with a capital that are no ordinary words, joined where one
 * name has several, with the numbers of an address. It knows no names, and so redacts many that are nobody's business: an aid
 * where nothing is known of what a text may hold, not what a bank should rely on.
 */
export function names(text: string, from: number, offset: number, spans: Span[]): void {
  const words = wordsOf(text, from, begins(text, from))
  for (let i = 0; i < words.length; i++) {
    const first = words[i]
    if (!first || (first.make !== 'name' && first.make !== 'title')) continue
    let start = first.start
    // House numbers come before their street in some countries.
    const before = words[i - 1]
    if (before && before.make === 'number' && !before.last) start = before.start
    let end = first.end - possessive(first.text)
    let named = first.make === 'name'
    let last = i
    for (let j = i + 1; j < words.length && !words[j - 1]?.last; j++) {
      const word = words[j]
      if (!word || word.make === 'other') break
      // After a title any word is a name.
      if (word.make === 'ordinary' && (first.make !== 'title' || j > i + 1)) break
      if (word.make === 'joint') continue
      end = word.end - possessive(word.text)
      named ||= word.make === 'name' || word.make === 'ordinary'
      last = j
    }
    // A capital at the beginning of a sentence says nothing; two words with one, or a foreign letter, do.
    const lone = last === i && first.initial && !FOREIGN.test(first.text)
    if (named && !lone) spans.push({ start: start + offset, end: end + offset, kind: 'NAME' })
    i = last
  }
}

/** Whether a sentence begins there, as far as what came before it tells. */
function begins(text: string, at: number): boolean {
  let i = at - 1
  while (i >= 0 && ' "\'`(*_-\u201c\u201e\u00ab'.includes(text.charAt(i))) i--
  return i < 0 || '.!?:\n\r\t>'.includes(text.charAt(i))
}

function wordsOf(text: string, from: number, atBeginning: boolean): Word[] {
  const words: Word[] = []
  let i = from
  let initial = atBeginning
  while (i < text.length) {
    while (i < text.length && !isWordClass(classOf(text.charCodeAt(i)))) i++
    if (i >= text.length) break
    const start = i
    let found = 0
    while (i < text.length) {
      const one = classOf(text.charCodeAt(i))
      const joined = !isWordClass(one) && isJoin(text, i)
      if (!isWordClass(one) && !joined) break
      if (!joined) found |= one
      i++
    }
    const word = text.slice(start, i)
    const next = text.charAt(i)
    // A dot after a title, an initial or an abbreviation ends nothing.
    const last =
      next !== '' && next !== ' ' && next !== '\u00a0' && !(next === '.' && i - start <= 4)
    words.push({ start, end: i, text: word, make: makeOf(word, found, initial), initial, last })
    initial = false
  }
  return words
}

/** `O'Brien`, `Weeks-Rivas`, `J.P.` */
function isJoin(text: string, at: number): boolean {
  const c = text.charAt(at)
  return (
    (c === "'" || c === '-' || c === '\u2019' || c === '&') &&
    isWordClass(classOf(text.charCodeAt(at - 1))) &&
    at + 1 < text.length &&
    isWordClass(classOf(text.charCodeAt(at + 1)))
  )
}

function makeOf(word: string, found: number, initial: boolean): Word['make'] {
  if ((found & (UPPER | LOWER)) === 0) return 'number'
  const capital = (classOf(word.charCodeAt(0)) & UPPER) !== 0
  if (!capital)
    return JOINTS.has(word)
      ? 'joint'
      : (found & DIGIT) !== 0 && word.length <= 6
        ? 'number'
        : 'other'
  const lower = word.toLowerCase()
  if (TITLES.has(lower)) return 'title'
  const stem = APOSTROPHE.test(lower) ? lower.replace(CONTRACTION, '') : lower
  if (ORDINARY.has(stem)) return 'ordinary'
  const shouted = (found & LOWER) === 0
  if (word.length === 1) return 'initial'
  // An abbreviation is rarely a name; a short one by itself never.
  if (shouted && word.length <= 4) return 'initial'
  if (initial && /(?:ing|ly|ed|tion|ment|ness|able)$/.test(lower) && !shouted) return 'other'
  return 'name'
}
