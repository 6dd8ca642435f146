import { useEffect } from 'react'
import { invalidate } from '../api/resource.ts'

/** What changes without an event of its own is read again this often while it is looked at. */
export function useReread(path: string, everyMs: number): void {
  useEffect(() => {
    const timer = setInterval(() => invalidate(path, 0), everyMs)
    return () => clearInterval(timer)
  }, [path, everyMs])
}
