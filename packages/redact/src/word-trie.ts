import { hashOfText, lowered, own } from './words.ts'

/** Places of an index in the beginning, and how many words of one are looked at. */
const FIRST_INDEX = 64
const MAX_TRIES = 8

const emptyIndex = <T>(size: number): (Word<T> | undefined)[] =>
  Array.from({ length: size }, () => undefined)

/** Nodes that are changed in one go. */
const STRETCH = 2048

/** A word that some value has. */
export interface Word<T> {
  readonly text: string
  readonly hash: number
  /** The next one in the same place of the index. */
  next: Word<T> | undefined
  /** Its node below the root: most words that are followed begin a value. */
  first: Node<T> | undefined
  /** Version in which a node with this word last came, went, or became or ceased to be the end of a value. */
  changed: number
  nodes: number
}

/** The words of a value up to one of them. */
export interface Node<T> {
  readonly parent: Node<T> | undefined
  readonly word: Word<T>
  /** How many words it is of. */
  readonly depth: number
  /** Most nodes have one child at most: it needs no map. */
  only: Node<T> | undefined
  more: Map<Word<T>, Node<T>> | undefined
  /** Of the value that ends here, where one does. */
  about: T | undefined
  /** The longest end of these words that is a node too, and the longest that is a value; as of a version. */
  link: Node<T>
  value: Node<T> | undefined
  linked: number
}

/**
 * Values as a tree of words, with the links of Aho and Corasick ("Efficient string matching", 1975): a text is gone through once,
 * however often its words begin values. Links are made when they are first needed, and again only where a value that came or
 * went has the same last word: so that reading and looking may take turns.
 */
export class WordTrie<T> {
  readonly root: Node<T>
  readonly #words = new Map<string, Word<T>>()
  /** The same words by their hash, for those who have code units and no string. */
  #index: (Word<T> | undefined)[] = emptyIndex(FIRST_INDEX)
  #version = 0
  /** Ends of values. */
  values = 0
  /** Letters and digits of all nodes. */
  characters = 0
  /** Words followed and links made, ever: what looking costs, for those who want to know how it grows. */
  steps = 0

  constructor() {
    this.root = rootNode()
  }

  /** Changes with everything that is known. */
  get version(): number {
    return this.#version
  }

  has(words: readonly string[]): boolean {
    return this.#find(words)?.about !== undefined
  }

  /** Puts a value in, or changes what is known of it. */
  insert(words: readonly string[], about: (before: T | undefined) => T): void {
    this.#version++
    let node = this.root
    for (const text of words) {
      const word = this.#words.get(text) ?? this.#add(own(text))
      node = this.#child(node, word) ?? this.#grow(node, word)
    }
    if (node === this.root) return
    if (node.about === undefined) {
      this.values++
      node.word.changed = this.#version
    }
    node.about = about(node.about)
  }

  /**
   * Changes what is known of every value, and takes out those of which `about` leaves nothing; a stretch at a time, for other work
   * may go on between.
   */
  *change(about: (before: T) => T | undefined): Generator<void> {
    const waiting: Node<T>[] = [this.root]
    let seen = 0
    for (let node = waiting.pop(); node; node = waiting.pop()) {
      if (node.more) waiting.push(...node.more.values())
      else if (node.only) waiting.push(node.only)
      if (node.about !== undefined) {
        this.#version++
        node.about = about(node.about)
        if (node.about === undefined) this.#remove(node)
      }
      if (++seen % STRETCH === 0) yield
    }
  }

  /** A node is the end of no value any more: it goes, and whatever led to it alone. */
  #remove(end: Node<T>): void {
    this.values--
    end.word.changed = this.#version
    for (
      let node = end;
      node.parent && node.about === undefined && !node.only;
      node = node.parent
    ) {
      const { parent, word } = node
      drop(parent, node)
      if (parent === this.root) word.first = undefined
      word.changed = this.#version
      this.characters -= word.text.length
      if (--word.nodes === 0) this.#forget(word)
    }
  }

  #find(words: readonly string[]): Node<T> | undefined {
    let node: Node<T> | undefined = this.root
    for (const text of words) {
      const word = this.#words.get(text)
      node = word && node && this.#child(node, word)
    }
    return node
  }

  #add(text: string): Word<T> {
    if (this.#words.size >= this.#index.length) {
      this.#index = emptyIndex(2 * this.#index.length)
      for (const word of this.#words.values()) this.#place(word)
    }
    const hash = hashOfText(text)
    const word: Word<T> = {
      text,
      hash,
      next: undefined,
      first: undefined,
      changed: 0,
      nodes: 0,
    }
    this.#words.set(text, word)
    this.#place(word)
    return word
  }

  #place(word: Word<T>): void {
    const at = word.hash & (this.#index.length - 1)
    word.next = this.#index[at]
    this.#index[at] = word
  }

  #forget(word: Word<T>): void {
    this.#words.delete(word.text)
    const at = word.hash & (this.#index.length - 1)
    let before = this.#index[at]
    if (before === word) this.#index[at] = word.next
    while (before && before.next !== word) before = before.next
    if (before) before.next = word.next
  }

  word(text: string): Word<T> | undefined {
    return this.#words.get(text)
  }

  /** The word that stands in a text of ASCII, whatever its case; `hash` is its `hashOfCodes`. */
  wordAt(codes: Uint16Array, start: number, end: number, hash: number): Word<T> | undefined {
    let word = this.#index[hash & (this.#index.length - 1)]
    // Whoever chose words to meet in one place gains nothing by it.
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      if (word === undefined) return undefined
      if (word.hash === hash && reads(word.text, codes, start, end)) return word
      word = word.next
    }
    return this.#words.get(String.fromCharCode(...codes.subarray(start, end)).toLowerCase())
  }

  /** @returns where the longest value that is begun stands after one more word; the root where none is */
  follow(from: Node<T>, word: Word<T> | undefined): Node<T> {
    this.steps++
    if (!word) return this.root
    for (let node = from; ; node = this.linked(node).link) {
      this.steps++
      const next = this.#child(node, word)
      if (next) return next
      if (node === this.root) return node
    }
  }

  #child(node: Node<T>, word: Word<T>): Node<T> | undefined {
    if (node === this.root) return word.first
    const { only, more } = node
    if (more !== undefined) return more.get(word)
    return only?.word === word ? only : undefined
  }

  /** The node with its links as they are now. */
  linked(node: Node<T>): Node<T> {
    if (isFresh(node)) return node
    // By hand, not by recursion: values may have thousands of words. Each stands below a node with more words than it has.
    const waiting: Waiting<T>[] = [{ node, from: undefined }]
    for (let one = waiting.at(-1); one; one = waiting.at(-1)) {
      const first = this.#link(one)
      if (first) waiting.push({ node: first, from: undefined })
      else waiting.pop()
    }
    return node
  }

  /** @returns a node that has to be linked before this one can be */
  #link(waiting: Waiting<T>): Node<T> | undefined {
    const { node } = waiting
    const parent = node.parent ?? node
    if (!isFresh(parent)) return parent
    let link = this.root
    if (parent !== this.root) {
      waiting.from ??= parent.link
      for (;;) {
        this.steps++
        const next = this.#child(waiting.from, node.word)
        if (next) {
          link = next
          break
        }
        if (waiting.from === this.root) break
        if (!isFresh(waiting.from)) return waiting.from
        waiting.from = waiting.from.link
      }
      if (!isFresh(link)) return link
    }
    node.link = link
    node.value = link.about === undefined ? link.value : link
    node.linked = this.#version
    return undefined
  }

  #grow(parent: Node<T>, word: Word<T>): Node<T> {
    const { root } = this
    const node: Node<T> = {
      parent,
      word,
      depth: parent.depth + 1,
      only: undefined,
      more: undefined,
      about: undefined,
      link: root,
      value: undefined,
      linked: -1,
    }
    word.nodes++
    word.changed = this.#version
    this.characters += word.text.length
    if (parent === root) word.first = node
    if (parent.only === undefined) parent.only = node
    else {
      parent.more ??= new Map([[parent.only.word, parent.only]])
      parent.more.set(word, node)
    }
    return node
  }
}

/** A node that is to be linked, and the end of its words but the last that is tried next. */
interface Waiting<T> {
  readonly node: Node<T>
  from: Node<T> | undefined
}

/** Whether nothing came or went that its links could lead to. */
const isFresh = <T>(node: Node<T>): boolean => node.linked >= node.word.changed

function rootNode<T>(): Node<T> {
  class Root implements Node<T> {
    readonly parent = undefined
    readonly word: Word<T> = {
      text: '',
      hash: 0,
      next: undefined,
      first: undefined,
      changed: 0,
      nodes: 1,
    }
    readonly depth = 0
    only: Node<T> | undefined
    more: Map<Word<T>, Node<T>> | undefined
    about: T | undefined
    link: Node<T> = this
    value: Node<T> | undefined
    linked = 0
  }
  return new Root()
}

/** Whether a text of ASCII reads so, but for its case. */
function reads(word: string, codes: Uint16Array, start: number, end: number): boolean {
  if (word.length !== end - start) return false
  for (let i = 0; i < word.length; i++) {
    if (word.charCodeAt(i) !== lowered(codes[start + i] ?? 0)) return false
  }
  return true
}

function drop<T>(parent: Node<T>, node: Node<T>): void {
  parent.more?.delete(node.word)
  if (parent.only !== node) return
  const [next] = parent.more?.values() ?? []
  parent.only = next
  if (next === undefined) parent.more = undefined
}
