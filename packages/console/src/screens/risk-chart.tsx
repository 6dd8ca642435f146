import { useEffect, useMemo, useRef, useState } from 'react'
import type { ReactNode } from 'react'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { useLive } from '../api/live.ts'
import { useResource } from '../api/resource.ts'
import type { DecisionRecord, Instance } from '../api/types.ts'
import { instanceName } from '../lib/format.ts'
import { useNow } from '../lib/now.ts'
import { useScheme } from '../lib/theme.ts'

const HEIGHT = 132
/** Of lines, in turn: none is the colour of an outcome. Classes `line-0` … draw the legend. */
const LINES = ['--accent', '--line-a', '--line-b', '--muted']

/** The least that the time axis spans, milliseconds. */
const SPAN = 60_000

interface Point {
  readonly at: number
  readonly score: number
}

/**
 * Risk of each instance, one stepped line each: as it stood at the agent's latest calls, as it changed since the page is
 * connected, and as it is now.
 */
export function RiskChart(props: { agent: string; instances: readonly Instance[] }): ReactNode {
  const { agent, instances } = props
  const box = useRef<HTMLDivElement>(null)
  const [opened] = useState(() => ({ at: Date.now(), instances }))
  const changes = useLive((state) => state.risk)
  const calls = useResource<readonly DecisionRecord[]>(
    `/decisions?agent=${encodeURIComponent(agent)}&limit=200`,
  ).data
  const scheme = useScheme()
  const now = useNow()

  const names = useMemo(() => instances.map(({ spiffeId }) => spiffeId), [instances])
  const data = useMemo(
    () => table(instances, calls ?? [], changes, opened, now),
    [instances, calls, changes, opened, now],
  )
  const series = names.join(' ')

  useEffect(() => {
    const element = box.current
    if (!element) return
    const css = getComputedStyle(element)
    const color = (name: string): string => css.getPropertyValue(name).trim()
    const axis = {
      stroke: resolve(element, color('--muted')),
      grid: { stroke: resolve(element, color('--line')), width: 1 / devicePixelRatio },
      ticks: { show: false },
      font: '11px sans-serif',
    }

    const chart = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), 'Etc/UTC'),
        legend: { show: false },
        cursor: { show: false },
        padding: [8, 24, 0, 0],
        scales: {
          x: { range: (_, min, max) => [Math.min(min, max - SPAN / 1000), max] },
          y: { range: [0, 100] },
        },
        axes: [
          {
            ...axis,
            size: 28,
            values: (_, ticks) => ticks.map((t) => new Date(t * 1000).toISOString().slice(11, 19)),
          },
          { ...axis, size: 32, splits: [0, 50, 100] },
        ],
        series: [
          {},
          ...series.split(' ').map((name, i) => ({
            label: instanceName(name),
            stroke: resolve(element, color(LINES[i % LINES.length] ?? '--accent')),
            width: 1.75,
            spanGaps: true,
            points: { show: false },
            ...(uPlot.paths.stepped && { paths: uPlot.paths.stepped({ align: 1 }) }),
          })),
        ],
      },
      [[], ...series.split(' ').map(() => [])],
      element,
    )
    chartOf.set(element, chart)
    const resize = new ResizeObserver(() =>
      chart.setSize({ width: element.clientWidth, height: HEIGHT }),
    )
    resize.observe(element)
    return () => {
      resize.disconnect()
      chartOf.delete(element)
      chart.destroy()
    }
  }, [series, scheme])

  useEffect(() => {
    if (box.current) chartOf.get(box.current)?.setData(data)
  }, [data, series, scheme])

  const scores = instances.map(
    ({ spiffeId, risk }) => `${instanceName(spiffeId)} ${Math.round(risk)} of 100`,
  )
  return (
    <>
      <div ref={box} className="chart" role="img" aria-label={`Risk: ${scores.join(', ')}`} />
      {instances.length > 1 && (
        <ul className="chart-legend" aria-hidden="true">
          {instances.map(({ spiffeId }, i) => (
            <li key={spiffeId} className={`line-${i % LINES.length}`}>
              {instanceName(spiffeId)}
            </li>
          ))}
        </ul>
      )}
    </>
  )
}

const chartOf = new WeakMap<Element, uPlot>()

/** Canvas takes no `light-dark()`: asks the element what the value computes to. */
function resolve(element: HTMLElement, value: string): string {
  const before = element.style.color
  element.style.color = value
  const computed = getComputedStyle(element).color
  element.style.color = before
  return computed
}

/** uPlot's columns: seconds, then one column of scores an instance, `null` where it said nothing. */
function table(
  instances: readonly Instance[],
  calls: readonly DecisionRecord[],
  changes: Readonly<Record<string, readonly Point[]>>,
  opened: { readonly at: number; readonly instances: readonly Instance[] },
  now: number,
): uPlot.AlignedData {
  const points = instances.flatMap(({ spiffeId, risk }, column) =>
    [
      ...calls.filter(({ instance }) => instance === spiffeId).map(ofCall),
      ...opened.instances
        .filter((instance) => instance.spiffeId === spiffeId)
        .map((instance) => ({ at: opened.at, score: instance.risk })),
      ...(changes[spiffeId] ?? []),
      { at: now, score: risk },
    ].map((point) => ({ ...point, column })),
  )
  points.sort((a, b) => a.at - b.at)
  return [
    points.map(({ at }) => at / 1000),
    ...instances.map((_, column) => points.map((p) => (p.column === column ? p.score : null))),
  ]
}

function ofCall({ at, risk }: DecisionRecord): Point {
  return { at, score: risk }
}
