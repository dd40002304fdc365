"""What is to know of GA4GH's Task Execution Service, versions 1.0 and 1.1.

::

    references   how a task is named: to the server, and in the job's row
    tasks        a job as a task
    states       what the server's words say of a task, to us and to the visitor
    server       questions to the server, and what it is told
    scheduling   submissions, one question for all tasks, cancellations
"""
