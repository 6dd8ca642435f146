import { FormIndex } from './forms/form-index.ts'
import { FormRestorer } from './forms/restoring.ts'
import type { KnownScanner, KnownSource } from './known.ts'
import type { Kind } from './recognise/recogniser.ts'
import type { RedactingStream } from './redactor.ts'
import type { Vault } from './vault.ts'

/** What stands in for values in one exchange: a request and its answer. */
export interface StandIns {
  /** @returns undefined for what stands in for something already @throws SallyportError `SP_REDACT_FULL` */
  of(kind: Kind, value: string): string | undefined
  /** Whether a whole text is one of those that may be restored here. */
  owns(text: string): boolean
  /** What was known, and what may stand in a request from before: nobody takes that, or a part of it, for something new. */
  finding(known: KnownSource): KnownSource
  /** As those of a vault, of the same form as well, as far as they went into the request. */
  restore(text: string, write?: (value: string) => string): string
  restoring(write?: (value: string) => string): RedactingStream
}

export interface FormOptions {
  /** Whether a text stands for itself where a stand-in would be read: as what somebody knows, or in the request. */
  readonly isTaken: (text: string) => boolean
}

/**
 * What stands in for values in one exchange.
 *
 * @param form keeps the form of values that have one; without, each stand-in is a word with the kind in it
 */
export function standIns(vault: Vault, form?: FormOptions): StandIns {
  return form ? new FormStandIns(vault, form) : new Words(vault)
}

class Words implements StandIns {
  readonly #vault: Vault

  constructor(vault: Vault) {
    this.#vault = vault
  }

  of(kind: Kind, value: string): string | undefined {
    if (this.#vault.has(value)) return undefined
    // What holds one and more is a value by itself: what comes back must not hold what only stood for something.
    return this.#vault.token(kind, this.#vault.restore(value))
  }

  owns(text: string): boolean {
    return this.#vault.has(text)
  }

  finding(known: KnownSource): KnownSource {
    // What is made for this request stands nowhere in it yet.
    return this.#vault.bytes === 0 ? known : new Both(known, this.#vault.words)
  }

  restore(text: string, write?: (value: string) => string): string {
    return this.#vault.restore(text, write)
  }

  restoring(write?: (value: string) => string): RedactingStream {
    return this.#vault.restoring(write)
  }
}

const plain = (value: string): string => value

const MAX_SAID = 4096

class FormStandIns extends Words {
  readonly #vault: Vault
  readonly #form: FormOptions
  /** What the request has in it: an answer holds nothing else but by chance, or because another vendor was told. */
  readonly #used = new FormIndex()
  /** What was said last for a value: a conversation says the same ones again and again. */
  readonly #said = new Map<string, string>()

  constructor(vault: Vault, form: FormOptions) {
    super(vault)
    this.#vault = vault
    this.#form = form
  }

  override of(kind: Kind, value: string): string | undefined {
    const before = this.#said.get(value)
    if (before !== undefined) return before
    const text = this.#of(kind, value)
    if (text !== undefined) {
      if (this.#said.size >= MAX_SAID) this.#said.clear()
      this.#said.set(value, text)
    }
    return text
  }

  #of(kind: Kind, value: string): string | undefined {
    const { forms } = this.#vault
    if (this.#vault.has(value)) return undefined
    const own = forms.get(value)
    if (own) {
      this.#vault.use(own)
      this.#used.add(own)
      return undefined
    }
    const before = this.#vault.recall(value)
    if (before) {
      this.#used.add(before.formed)
      return before.text
    }
    // What holds one and more is a value by itself: what comes back must not hold what only stood for something.
    const words = this.#vault.restore(value)
    const whole = forms.lacks(words) ? words : restored(forms, words, plain)
    const formed = this.#vault.formed(kind, whole, this.#form.isTaken)
    if (formed === undefined) return this.#vault.token(kind, whole)
    this.#used.add(formed.formed)
    return formed.text === value ? undefined : formed.text
  }

  override owns(text: string): boolean {
    return super.owns(text) || this.#used.get(text) !== undefined
  }

  override finding(known: KnownSource): KnownSource {
    return new Both(super.finding(known), this.#vault.forms)
  }

  override restore(text: string, write?: (value: string) => string): string {
    const whole = this.#used.lacks(text) ? text : restored(this.#used, text, write ?? plain)
    return super.restore(whole, write)
  }

  override restoring(write?: (value: string) => string): RedactingStream {
    const words = super.restoring(write)
    if (this.#used.size === 0) return words
    const forms = new FormRestorer(this.#used, write ?? plain)
    return {
      push: (piece) => words.push(forms.push(piece)),
      end: () => words.push(forms.end()) + words.end(),
    }
  }
}

function restored(index: FormIndex, text: string, write: (value: string) => string): string {
  const one = new FormRestorer(index, write)
  return one.push(text) + one.end()
}

class Both implements KnownSource {
  readonly #one: KnownSource
  readonly #other: KnownSource

  constructor(one: KnownSource, other: KnownSource) {
    this.#one = one
    this.#other = other
  }

  get version(): number {
    return this.#one.version + this.#other.version
  }

  lacks(text: string): boolean {
    return this.#one.lacks(text) && this.#other.lacks(text)
  }

  scanner(): KnownScanner {
    const [one, other] = [this.#one.scanner(), this.#other.scanner()]
    return {
      get decided() {
        return Math.min(one.decided, other.decided)
      },
      shift: (by) => {
        one.shift(by)
        other.shift(by)
      },
      advance: (growing, spans) => {
        one.advance(growing, spans)
        other.advance(growing, spans)
      },
    }
  }
}
