interface Waiting<I, O> {
  readonly item: I
  readonly resolve: (answer: O) => void
  readonly reject: (error: unknown) => void
}

/**
 * Work that costs much for the first item and little for each further one: what arrives while a batch runs goes into the
 * next one, together. One batch at a time; of one key at most one item in a batch, the others wait for the next, in order.
 *
 * @param work answers each item at its place; where it throws, every item of the batch fails alike
 */
export function batched<I, O>(options: {
  readonly max: number
  readonly keyOf: (item: I) => string
  readonly work: (items: readonly I[]) => Promise<readonly O[]>
}): (item: I) => Promise<O> {
  /** By key, in the order in which each key is next: one that asks a thousand times holds up nobody else. */
  const queues = new Map<string, Waiting<I, O>[]>()
  let running = false

  const next = (): Waiting<I, O>[] => {
    const batch: Waiting<I, O>[] = []
    for (const [key, queue] of [...queues.entries().take(options.max)]) {
      const waiting = queue.shift()
      if (waiting) batch.push(waiting)
      queues.delete(key)
      if (queue.length > 0) queues.set(key, queue)
    }
    return batch
  }

  const run = async (): Promise<void> => {
    running = true
    while (queues.size > 0) {
      const batch = next()
      try {
        const answers = await options.work(batch.map(({ item }) => item))
        batch.forEach((waiting, index) => {
          const answer = answers[index]
          // `O` may itself include undefined: the place says whether there is an answer.
          if (index in answers) waiting.resolve(answer as O)
          else waiting.reject(new Error('a batch left an item without an answer'))
        })
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    running = false
  }

  return (item) =>
    new Promise((resolve, reject) => {
      const key = options.keyOf(item)
      const queue = queues.get(key)
      if (queue) queue.push({ item, resolve, reject })
      else queues.set(key, [{ item, resolve, reject }])
      if (!running) void run()
    })
}
