import type { ReactNode } from 'react'
import type { Network } from '../api/network-types.ts'
import { inputsOf, kindsFor } from '../lib/mandate-draft.ts'
import type { FormCondition, FormGrant } from '../lib/mandate-draft.ts'
import { amountWords } from '../lib/mandate-words.ts'
import { Button } from '../ui/button.tsx'
import { Field, TextArea } from '../ui/field.tsx'
import { Panel } from '../ui/parts.tsx'

type Inputs = ReturnType<typeof inputsOf>

/** The calls of one system, and what narrows them. */
export function GrantFields(props: {
  grant: FormGrant
  network: Network
  /** Operations that flows declare. */
  offered: readonly string[]
  /** It was added just now. */
  focused: boolean
  change: (grant: FormGrant) => void
  remove: () => void
}): ReactNode {
  const { grant, network, offered, focused, change, remove } = props
  const { system, operations, conditions, amount, counterparties } = grant
  const declared = network.systems.find(({ name }) => name === system)?.operations ?? []
  const inputs = inputsOf(network, grant)
  const numbers = ofType(inputs, 'long')
  const names = [...ofType(inputs, 'string'), ...ofType(inputs, 'set')]
  const constrained = [...inputs].filter(([, type]) => kindsFor(type).length > 0)
  const addCondition = (): void => {
    const taken = new Set(conditions.map(({ input }) => input))
    const [input = '', type] = constrained.find(([path]) => !taken.has(path)) ?? []
    const key = Math.max(0, ...conditions.map((one) => one.key)) + 1
    const kind = kindsFor(type)[0] ?? 'equals'
    change({ ...grant, conditions: [...conditions, { key, input, kind, value: '', max: '' }] })
  }
  return (
    <Panel
      title={`Calls to ${system}`}
      aside={
        <Button kind="quiet" icon="close" onPress={remove}>
          Remove<span className="sr-only"> calls to {system}</span>
        </Button>
      }
    >
      <fieldset className="checks">
        <legend>Operations</legend>
        {offered.map((name, i) => {
          const operation = declared.find((one) => one.name === name)
          return (
            <label key={name} className="check">
              <input
                type="checkbox"
                autoFocus={focused && i === 0}
                checked={operations.includes(name)}
                onChange={(event) =>
                  change({
                    ...grant,
                    operations: event.target.checked
                      ? offered.filter((one) => one === name || operations.includes(one))
                      : operations.filter((one) => one !== name),
                  })
                }
              />
              <span>
                <strong>{name}</strong>{' '}
                <span className="muted">
                  {operation?.kind}: {operation?.description}
                </span>
              </span>
            </label>
          )
        })}
      </fieldset>
      {conditions.map((condition, i) => (
        <ConditionFields
          key={condition.key}
          n={i + 1}
          condition={condition}
          inputs={inputs}
          change={(next) =>
            change({
              ...grant,
              conditions: conditions.map((one) => (one.key === next.key ? next : one)),
            })
          }
          remove={() =>
            change({ ...grant, conditions: conditions.filter(({ key }) => key !== condition.key) })
          }
        />
      ))}
      {amount && <AmountFields grant={grant} amount={amount} inputs={inputs} change={change} />}
      {counterparties && (
        <fieldset className="condition">
          <legend>Counterparties</legend>
          <Choice
            label="Named by the input"
            value={counterparties.input}
            options={names}
            change={(input) => change({ ...grant, counterparties: { ...counterparties, input } })}
          />
          <TextArea
            label="Nobody but these, one a line"
            rows={3}
            value={counterparties.values}
            onChange={(values) =>
              change({ ...grant, counterparties: { ...counterparties, values } })
            }
          />
          <Drop
            what="counterparties"
            onPress={() => {
              const { counterparties: _, ...rest } = grant
              change(rest)
            }}
          />
        </fieldset>
      )}
      {operations.length > 0 && (
        <div className="sign-box">
          {constrained.length > conditions.length && (
            <Button onPress={addCondition}>Limit an argument</Button>
          )}
          {!amount && numbers.length > 0 && (
            <Button
              onPress={() =>
                change({
                  ...grant,
                  amount: {
                    input: numbers.find((path) => /amount$/i.test(path)) ?? numbers[0] ?? '',
                    currencyInput:
                      ofType(inputs, 'string').find((path) => /currency$/i.test(path)) ?? '',
                    ...{ currency: 'EUR', perUse: '', total: '' },
                  },
                })
              }
            >
              Limit the amount
            </Button>
          )}
          {!counterparties && names.length > 0 && (
            <Button
              onPress={() =>
                change({ ...grant, counterparties: { input: names[0] ?? '', values: '' } })
              }
            >
              Limit the counterparties
            </Button>
          )}
          {inputs.size === 0 && (
            <span className="muted">
              The chosen operations have no input in common, so nothing can be limited for all of
              them at once.
            </span>
          )}
        </div>
      )}
    </Panel>
  )
}

const KINDS: Readonly<Record<FormCondition['kind'], string>> = {
  equals: 'is exactly',
  oneOf: 'is one of',
  range: 'lies between',
  prefix: 'begins with',
}

function ConditionFields(props: {
  n: number
  condition: FormCondition
  inputs: Inputs
  change: (condition: FormCondition) => void
  remove: () => void
}): ReactNode {
  const { n, condition, inputs, change, remove } = props
  const kinds = kindsFor(inputs.get(condition.input))
  const value = (label: string, member: 'value' | 'max'): ReactNode => (
    <Field label={label}>
      {(id) => (
        <input
          id={id}
          className="filter-input"
          spellCheck={false}
          autoCapitalize="none"
          maxLength={256}
          value={condition[member]}
          onChange={(event) => change({ ...condition, [member]: event.target.value })}
        />
      )}
    </Field>
  )
  return (
    <fieldset className="condition">
      <legend>Argument {n}</legend>
      <Choice
        label="Input"
        value={condition.input}
        options={[...inputs].filter(([, type]) => kindsFor(type).length > 0).map(([path]) => path)}
        change={(input) =>
          change({
            ...condition,
            input,
            kind: kindsFor(inputs.get(input)).includes(condition.kind)
              ? condition.kind
              : (kindsFor(inputs.get(input))[0] ?? 'equals'),
          })
        }
      />
      <Field label="Condition">
        {(id) => (
          <select
            id={id}
            value={condition.kind}
            onChange={(event) => {
              // The options are the kinds.
              change({ ...condition, kind: event.target.value as FormCondition['kind'] })
            }}
          >
            {kinds.map((kind) => (
              <option key={kind} value={kind}>
                {KINDS[kind]}
              </option>
            ))}
          </select>
        )}
      </Field>
      {condition.kind === 'range' && (
        <>
          {value('At least', 'value')}
          {value('At most', 'max')}
        </>
      )}
      {condition.kind === 'oneOf' && (
        <TextArea
          label="Values, one a line"
          rows={3}
          value={condition.value}
          onChange={(text) => change({ ...condition, value: text })}
        />
      )}
      {(condition.kind === 'equals' || condition.kind === 'prefix') &&
        (inputs.get(condition.input) === 'boolean' ? (
          <Choice
            label="Value"
            value={condition.value}
            options={['true', 'false']}
            change={(text) => change({ ...condition, value: text })}
          />
        ) : (
          value('Value', 'value')
        ))}
      <Drop what={`the limit on ${condition.input}`} onPress={remove} />
    </fieldset>
  )
}

function AmountFields(props: {
  grant: FormGrant
  amount: NonNullable<FormGrant['amount']>
  inputs: Inputs
  change: (grant: FormGrant) => void
}): ReactNode {
  const { grant, amount, inputs, change } = props
  const set = (part: Partial<typeof amount>): void =>
    change({ ...grant, amount: { ...amount, ...part } })
  const reading = (text: string): string =>
    /^\d{1,15}$/.test(text.trim()) && /^[A-Z]{3}$/.test(amount.currency)
      ? amountWords(Number(text.trim()), amount.currency)
      : 'in minor units: cents of EUR, yen of JPY'
  return (
    <fieldset className="condition">
      <legend>Amount</legend>
      <Choice
        label="Amount is the input"
        value={amount.input}
        options={ofType(inputs, 'long')}
        change={(input) => set({ input })}
      />
      <Choice
        label="Its currency is the input"
        value={amount.currencyInput}
        options={ofType(inputs, 'string')}
        none="none: the system knows one currency"
        change={(currencyInput) => set({ currencyInput })}
      />
      <Field label="Currency">
        {(id) => (
          <input
            id={id}
            className="filter-input"
            maxLength={3}
            autoCapitalize="characters"
            spellCheck={false}
            value={amount.currency}
            onChange={(event) => set({ currency: event.target.value.toUpperCase() })}
          />
        )}
      </Field>
      {(['perUse', 'total'] as const).map((member) => (
        <Field
          key={member}
          label={member === 'perUse' ? 'At most in each call' : 'At most over all calls (if any)'}
          note={reading(amount[member])}
        >
          {(id) => (
            <input
              id={id}
              className="filter-input num"
              inputMode="numeric"
              value={amount[member]}
              onChange={(event) => set({ [member]: event.target.value })}
            />
          )}
        </Field>
      ))}
      <Drop
        what="the amount"
        onPress={() => {
          const { amount: _, ...rest } = grant
          change(rest)
        }}
      />
    </fieldset>
  )
}

function Choice(props: {
  label: string
  value: string
  options: readonly string[]
  /** What the empty choice means; without it, the empty choice is no choice yet. */
  none?: string
  change: (value: string) => void
}): ReactNode {
  const { label, value, options, none, change } = props
  return (
    <Field label={label}>
      {(id) => (
        <select id={id} value={value} onChange={(event) => change(event.target.value)}>
          <option value="">{none ?? 'Choose…'}</option>
          {value !== '' && !options.includes(value) && (
            <option value={value}>{value} (not in every operation)</option>
          )}
          {options.map((option) => (
            <option key={option}>{option}</option>
          ))}
        </select>
      )}
    </Field>
  )
}

function Drop({ what, onPress }: { what: string; onPress: () => void }): ReactNode {
  return (
    <Button kind="quiet" icon="close" onPress={onPress}>
      Remove<span className="sr-only"> {what}</span>
    </Button>
  )
}

const ofType = (inputs: Inputs, wanted: string): readonly string[] =>
  [...inputs].filter(([, type]) => type === wanted).map(([path]) => path)
